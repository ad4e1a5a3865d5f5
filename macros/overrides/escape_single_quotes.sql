{#- Text within a Spark literal, where a backslash begins an escape: dbt-spark leaves it alone, and
    a fixture's `\1` would become `1`. -#}
{% macro spark__escape_single_quotes(expression) -%}
    {{ expression | replace("\\", "\\\\") | replace("'", "\\'") }}
{%- endmacro %}
