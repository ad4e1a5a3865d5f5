{#- The rows of an input's current loads, or of its seed: cells as written, and how to read them. In
    an increment, experiments of added loads only: those of the others are published already, and
    int_experiments takes them from there.

    stg_cell_formats is imported twice: PostgreSQL materializes a step that two others read, and
    then reads nothing in parallel.
    Usage: {{ input_rows('compounds', columns=['compound_id'], formats=['numbers']) }} -#}
{% macro input_rows(input, columns, formats) -%}
    {%- set origins = {
        'loaded': ('<>', source('raw', input)),
        'seeded': ('=', ref('base_seed_' ~ input)),
    } -%}
    with
    {%- for origin, (compares, rows) in origins.items() %}
    {{ origin }} as (
        select * from {{ rows }}
    ),

    {{ origin }}_files as (
        select * from {{ ref('stg_cell_formats') }}
        where input = '{{ input }}' and load_id {{ compares }} 0
        {%- if is_increment() and input == 'user_experiments' %}
        and load_id in (select load_id from {{ ref('stg_load_changes') }} where is_added)
        {%- endif %}
    ),

    {{ origin }}_rows as (
        select
            {%- for column in columns + ['load_id', 'line'] %}
            {{ origin }}.{{ column }},
            {%- endfor %}
            {%- for column in ['is_plain'] + formats %}
            {{ origin }}_files.{{ column }}{{ ',' if not loop.last }}
            {%- endfor %}
        from {{ origin }}
        inner join {{ origin }}_files on {{ origin }}.load_id = {{ origin }}_files.load_id
    ){{ ',' if not loop.last }}
    {%- endfor %}

    select * from loaded_rows
    union all
    select * from seeded_rows
{%- endmacro %}
