{#- An id as a number; NULL when the cell is no id. 1 to 18 digits, optionally followed by `.0…`.

    Usage: {{ parse_id('user_id', is_plain='user_id_is_plain') }}
    Example: '7', '007', ' 7.0 ' -> 7; '7.5', '-1', '1e3', 19 digits -> NULL -#}
{% macro parse_id(cell, is_plain) -%}
    case
        when {{ is_plain }} then cast({{ cell }} as bigint)
        when {{ matches(trim_cell(cell), id_pattern()) }}
            then cast(split_part({{ trim_cell(cell) }}, '.', 1) as bigint)
    end
{%- endmacro %}
