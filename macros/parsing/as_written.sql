{#- An item of a list with_semicolons() as it is in the file.

    Usage: {{ as_written('written_item') }}
    Example: '2\ue0003' -> '2;3' -#}
{% macro as_written(item) -%}
    replace({{ item }}, {{ "'\ue000'" }}, ';')
{%- endmacro %}
