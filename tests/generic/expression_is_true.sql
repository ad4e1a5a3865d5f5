{#- Fails for every row for which the expression is not true; NULL is not true. -#}
{% test expression_is_true(model, expression) %}
    with tested as (
        select * from {{ model }}
    )

    select *
    from tested
    where ({{ expression }}) is not true
{% endtest %}
