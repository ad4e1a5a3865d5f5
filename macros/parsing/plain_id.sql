{#- An id as it is written where nothing was said of its file: digits alone. NULL as plain_number().

    Usage: {{ to_id(plain_id('user_id', 'numbers', 'id_prefixes')) }}
    Example: 'U007' of 'U' -> '007', '12.000' of comma -> '12000' -#}
{% macro plain_id(cell, numbers, prefixes) -%}
    {{ plain_number(without_prefixes(trim_cell(cell), prefixes), numbers) }}
{%- endmacro %}
