{#- Fails for every row whose value is NULL; returns the rows whole, as the other tests do. -#}
{% test not_null(model, column_name) %}
    with tested as (
        select * from {{ model }}
    )

    select *
    from tested
    where {{ column_name }} is null
{% endtest %}
