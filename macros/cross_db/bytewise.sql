{#- The text in an order that no locale changes: that of its UTF-8 bytes.

    Usage: order by {{ bytewise('cells') }}
    Example: 'Z' before 'a' before 'é', on every server -#}
{% macro bytewise(text) -%}
    {{ return(adapter.dispatch('bytewise', 'labmart')(text)) }}
{%- endmacro %}

{% macro postgres__bytewise(text) -%}
    ({{ text }} collate "C")
{%- endmacro %}

{#- DuckDB compares text by its bytes. -#}
{% macro duckdb__bytewise(text) -%}
    {{ text }}
{%- endmacro %}

{#- So does Spark, whose default collation is UTF8_BINARY. -#}
{% macro spark__bytewise(text) -%}
    {{ text }}
{%- endmacro %}
