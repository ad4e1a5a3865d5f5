{#- A type of the contracts and sources, which are declared once for all engines, in Spark's words.

    Example: 'text' -> 'string' -#}
{% macro spark_type(type) -%}
    {{ return({'text': 'string', 'timestamp with time zone': 'timestamp'}.get(type, type)) }}
{%- endmacro %}
