{#- An id as a number; NULL when the cell is no id. 1 to 18 digits, optionally followed by `.0…`.

    Nearly all cells are digits alone. The bounded pattern costs a regular expression engine four
    times as much as the open one, so it is left for the few that are not; so is what was said of
    the file, since it makes no digits anything else: `numbers` and `prefixes`, as stg_cell_formats
    has them.
    Usage: {{ to_id('user_id', 'numbers', 'id_prefixes') }}
    Example: '7', '007', ' 7.0 ' -> 7; '7.5', '-1', '1e3', 19 digits -> NULL -#}
{% macro to_id(cell, numbers=none, prefixes=none) -%}
    {%- set plain = trim_cell(cell) -%}
    {%- if numbers -%}
        {%- set plain = plain_number(without_prefixes(plain, prefixes), numbers) -%}
    {%- endif -%}
    case
        when {{ matches(cell, '[0-9]+') }} and length({{ cell }}) <= 18
            then cast({{ cell }} as bigint)
        when {{ matches(plain, id_pattern()) }}
            then cast(split_part({{ plain }}, '.', 1) as bigint)
    end
{%- endmacro %}
