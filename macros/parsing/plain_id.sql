{#- An id as it would be written in a file read without options: only digits. NULL as for
    plain_number().

    Usage: {{ to_id(plain_id('user_id', 'numbers', 'id_prefixes')) }}
    Example: 'U007' of 'U' -> '007', '12.000' of comma -> '12000' -#}
{% macro plain_id(cell, numbers, prefixes) -%}
    {{ plain_number(without_prefixes(trim_cell(cell), prefixes), numbers) }}
{%- endmacro %}
