{#- What the first group of a pattern captures in a text, at the first match; NULL if there is none.

    Usage: {{ captured('duration', '([0-9]+) ?m') }}
    Example: '1h 30 m' -> '30', '1h' -> NULL -#}
{% macro captured(text, pattern) -%}
    {{ return(adapter.dispatch('captured', 'labmart')(text, pattern)) }}
{%- endmacro %}

{% macro postgres__captured(text, pattern) -%}
    substring({{ text }} from '{{ pattern }}')
{%- endmacro %}

{% macro duckdb__captured(text, pattern) -%}
    nullif(regexp_extract({{ text }}, '{{ pattern }}', 1), '')
{%- endmacro %}

{% macro spark__captured(text, pattern) -%}
    {{ return(labmart.duckdb__captured(text, pattern)) }}
{%- endmacro %}
