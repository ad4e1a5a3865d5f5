{#- A number for each row of a seed, which has no lines: its place in the order of its trimmed
    cells, column by column, byte by byte. So it does not depend on the order in which dbt wrote the rows.

    Usage: {{ seed_line(['user_id', 'name']) }} as line
    Example: the rows (7, b), (7, Z), (7, a) -> 3, 1, 2 -#}
{% macro seed_line(columns) -%}
    row_number() over (
        order by
            {%- for column in columns %}
            {{ bytewise("coalesce(" ~ trim_cell(column) ~ ", '')") }} asc{{ ',' if not loop.last }}
            {%- endfor %}
    )
{%- endmacro %}
