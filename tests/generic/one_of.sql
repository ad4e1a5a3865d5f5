{#- Fails for every row whose value is not among the given texts, or NULL. -#}
{% test one_of(model, column_name, values) %}
    select * from {{ model }}
    where ({{ column_name }} in ('{{ values | join("', '") }}')) is not true
{% endtest %}
