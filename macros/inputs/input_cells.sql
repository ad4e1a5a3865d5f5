{#- The rows of one input whose file counts, cells as they were written, whether loaded or seeded.

    Reads the CTEs `loaded` (the raw table), `load_files` (this input's loads that count), `seeded`
    (the seed) and `seed_files` (one row if the seed counts, else none). A loaded row knows its load
    and line. A seed has no lines: `seed_order` stands in for them, the trimmed cells in column
    order, joined by a character below all that print.
    Usage: {{ input_cells(['user_id', 'name']) }} -#}
{% macro input_cells(columns) -%}
    select
        {%- for column in columns %}
        loaded.{{ column }},
        {%- endfor %}
        loaded.load_id,
        loaded.line,
        {{ as_text('null') }} as seed_order
    from loaded
    inner join load_files on loaded.load_id = load_files.load_id

    union all

    select
        {%- for column in columns %}
        seeded.{{ column }},
        {%- endfor %}
        cast(null as bigint) as load_id,
        cast(null as bigint) as line,
        concat_ws(
            chr(1)
            {%- for column in columns %},
            coalesce({{ trim_cell('seeded.' ~ column) }}, '')
            {%- endfor %}
        ) as seed_order
    from seeded
    cross join seed_files
{%- endmacro %}
