{#- Fails for every combination of the columns that occurs twice or has a NULL in it.

    Where the database itself holds the key by a unique index, only the NULLs are looked for. A view
    that shows each row of a table once says so by `held_by`: where the database holds the key of
    that table, it is enough that the view has no more rows. -#}
{% test unique_combination_of_columns(model, combination_of_columns, held_by=none) %}
    {%- set has_null = combination_of_columns | join(' is null or ') ~ ' is null' %}
    with tested as (
        select * from {{ model }}
    )

    {% if is_held_unique(model, combination_of_columns) -%}
    select *
    from tested
    where {{ has_null }}
    {%- elif held_by and is_held_unique(held_by, combination_of_columns) -%}
    , holding as (
        select count(*) as held_rows from {{ held_by }}
    ),

    found as (
        select
            count(*) as found_rows,
            sum(case when {{ has_null }} then 1 else 0 end) as found_nulls
        from tested
    )

    select *
    from found
    cross join holding
    where found.found_rows > holding.held_rows or found.found_nulls > 0
    {%- else -%}
    select
        {{ combination_of_columns | join(', ') }},
        count(*) as occurrences
    from tested
    group by {{ combination_of_columns | join(', ') }}
    having count(*) > 1 or {{ has_null }}
    {%- endif %}
{% endtest %}
