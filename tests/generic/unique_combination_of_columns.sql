{#- Fails for every combination of the columns that occurs twice or has a NULL in it.

    Where the database itself holds the key by a unique index, only the NULLs are looked for. -#}
{% test unique_combination_of_columns(model, combination_of_columns) %}
    with tested as (
        select * from {{ model }}
    )

    {% if is_held_unique(model, combination_of_columns) -%}
    select *
    from tested
    where {{ combination_of_columns | join(' is null or ') }} is null
    {%- else -%}
    select
        {{ combination_of_columns | join(', ') }},
        count(*) as occurrences
    from tested
    group by {{ combination_of_columns | join(', ') }}
    having count(*) > 1 or {{ combination_of_columns | join(' is null or ') }} is null
    {%- endif %}
{% endtest %}
