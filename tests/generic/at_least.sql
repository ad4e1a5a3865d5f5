{#- Fails for every row whose value is less than the minimum, or NULL. -#}
{% test at_least(model, column_name, minimum) %}
    select * from {{ model }}
    where ({{ column_name }} >= {{ minimum }}) is not true
{% endtest %}
