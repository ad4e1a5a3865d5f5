{#- The value as text, in the engine's word for the type.

    Usage: {{ as_text('compound_id') }}
    Example: 7 -> '7', NULL -> NULL -#}
{% macro as_text(value) -%}
    {{ return(adapter.dispatch('as_text', 'labmart')(value)) }}
{%- endmacro %}

{% macro postgres__as_text(value) -%}
    cast({{ value }} as text)
{%- endmacro %}

{% macro duckdb__as_text(value) -%}
    cast({{ value }} as text)
{%- endmacro %}

{% macro spark__as_text(value) -%}
    cast({{ value }} as string)
{%- endmacro %}
