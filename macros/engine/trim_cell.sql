{#- A cell without the space, TAB, CR, LF, NBSP and BOM around it; NULL when nothing is left.

    Usage: {{ trim_cell('name') }}
    Example: '\u00a0 Ada\t' -> 'Ada', ' ' -> NULL -#}
{% macro trim_cell(cell) -%}
    {{ return(adapter.dispatch('trim_cell', 'labmart')(cell)) }}
{%- endmacro %}

{% macro postgres__trim_cell(cell) -%}
    nullif(btrim({{ cell }}, e' \t\r\n\u00a0\ufeff'), '')
{%- endmacro %}
