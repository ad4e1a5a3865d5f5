{#- The types of a contract, which are declared once for all engines, in Spark's words. -#}
{% macro spark__cast(field, type) -%}
    {%- if type == 'text' -%} {{ as_text(field) }}
    {%- else -%} {{ dbt.default__cast(field, type) }}
    {%- endif -%}
{%- endmacro %}
