{#- An id as a number; NULL if the cell is not an id. 1 to 18 digits, optionally followed by `.0…`.

    Nearly all cells are only digits. A bounded pattern costs a regular expression engine four times
    as much as an open one, so it is only tried on the few others.
    Usage: {{ to_id('user_id') }}
    Example: '7', '007', ' 7.0 ' -> 7; '7.5', '-1', '1e3', 19 digits -> NULL -#}
{% macro to_id(cell) -%}
    case
        when {{ matches(cell, '[0-9]+') }} and length({{ cell }}) <= 18
            then cast({{ cell }} as bigint)
        when {{ matches(trim_cell(cell), id_pattern()) }}
            then cast(split_part({{ trim_cell(cell) }}, '.', 1) as bigint)
    end
{%- endmacro %}
