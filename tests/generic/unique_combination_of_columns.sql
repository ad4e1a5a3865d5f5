{#- Fails for every combination of the columns that occurs twice or has a NULL in it.

    Where the database itself holds the key by a unique index, only the NULLs are looked for. A view
    that shows each row of a table once says so by `held_by`: where the database holds the key of
    that table, it is enough that the view has no more rows.

    Imported once for each use: PostgreSQL would store a step that two others read. -#}
{% test unique_combination_of_columns(model, combination_of_columns, held_by=none) %}
    {%- set columns = combination_of_columns | join(', ') -%}
    {%- set has_null = combination_of_columns | join(' is null or ') ~ ' is null' -%}
    {%- set is_held = is_held_unique(model, combination_of_columns) -%}
    {%- if held_by -%}
        {%- set is_held -%}
            {{ is_held }} or (
                {{ is_held_unique(held_by, combination_of_columns) }}
                and (select count(*) from counted) <= (select count(*) from holding)
            )
        {%- endset -%}
    {%- endif %}
    with grouped as (
        select * from {{ model }}
    ),

    searched as (
        select * from {{ model }}
    ),
    {% if held_by %}
    counted as (
        select * from {{ model }}
    ),

    holding as (
        select * from {{ held_by }}
    ),
    {% endif %}
    repeated as (
        select
            {{ columns }},
            count(*) as occurrences
        from grouped
        where not ({{ is_held }})
        group by {{ columns }}
        having count(*) > 1
    ),

    incomplete as (
        select
            {{ columns }},
            1 as occurrences
        from searched
        where {{ has_null }}
    )

    select * from repeated
    union all
    select * from incomplete
{% endtest %}
