{#- A table of the lake is known to its session alone, which has nobody to read its description. -#}
{% macro spark__comment_clause() -%}
{%- endmacro %}
