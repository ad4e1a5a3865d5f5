{#- A table in the lake is only known to its session, where nobody reads its description. -#}
{% macro spark__comment_clause() -%}
{%- endmacro %}
