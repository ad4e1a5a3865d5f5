{#- An id as a number; NULL when the cell is no id. 1 to 18 digits, optionally followed by `.0…`.

    Nearly all cells are digits alone. The bounded pattern costs a regular expression engine four
    times as much as the open one, so it is left for the few that are not.
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
