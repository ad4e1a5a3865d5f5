{#- Fails for every row whose value is not among the given texts, or NULL. -#}
{% test accepted_values(model, column_name, values) %}
    with tested as (
        select * from {{ model }}
    )

    select *
    from tested
    where ({{ column_name }} in ('{{ values | join("', '") }}')) is not true
{% endtest %}
