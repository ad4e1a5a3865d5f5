{#- True for a number that shows that a mark in the numbers of its file may separate thousands:
    `12,5`, `1.500,25`, `1.500.000`; for an id also `12.001`, since ids have no decimals.

    Hardly any cell has a mark at all, so the mark is looked for before the pattern is tried.
    Usage: {{ shows_thousands('experiment_run_time') }}, {{ shows_thousands('id', is_id=true) }}
    Example: '12,5' -> true, '12.500' -> false, as an id true, '12.000' -> false -#}
{% macro shows_thousands(cell, is_id=false) -%}
    {%- set pattern = '[+-]?[0-9][0-9.]*,[0-9][0-9.,]*|[1-9][0-9]{0,2}([.][0-9]{3}){2,}' -%}
    {%- if is_id -%}
        {%- set pattern = pattern
            ~ '|[1-9][0-9]{0,2}[.]([1-9][0-9]{2}|0[1-9][0-9]|00[1-9])' -%}
    {%- endif -%}
    (
        ({{ cell }} like '%,%' or {{ cell }} like '{{ '%.%' if is_id else '%.%.%' }}')
        and {{ matches(trim_cell(cell), pattern) }}
    )
{%- endmacro %}
