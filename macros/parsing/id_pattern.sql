{#- The pattern of an id: 1 to 18 digits, optionally followed by `.0…`. Used with matches() and
    to_id_list(). -#}
{% macro id_pattern() -%}
    [0-9]{1,18}([.]0+)?
{%- endmacro %}
