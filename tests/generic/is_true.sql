{#- Fails for every row for which the expression is not true; NULL is not true. -#}
{% test is_true(model, expression) %}
    select * from {{ model }}
    where ({{ expression }}) is not true
{% endtest %}
