{#- The types of a contract, which are declared once for all engines, in Spark's words. -#}
{% macro spark__cast(field, type) -%}
    {%- if type == 'text' -%} cast({{ field }} as string)
    {%- else -%} {{ dbt.default__cast(field, type) }}
    {%- endif -%}
{%- endmacro %}
