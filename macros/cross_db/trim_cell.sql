{#- A cell without the space, TAB, CR, LF, NBSP and BOM around it; NULL when nothing is left.

    Usage: {{ trim_cell('name') }}
    Example: '\u00a0 Ada\t' -> 'Ada', ' ' -> NULL -#}
{% macro trim_cell(cell) -%}
    {{ return(adapter.dispatch('trim_cell', 'labmart')(cell)) }}
{%- endmacro %}

{% macro postgres__trim_cell(cell) -%}
    nullif(btrim({{ cell }}, e' \t\r\n\u00a0\ufeff'), '')
{%- endmacro %}

{#- DuckDB's strings know no \u escapes; what is constant it works out once. -#}
{% macro duckdb__trim_cell(cell) -%}
    nullif(trim({{ cell }}, e' \t\r\n' || chr(160) || chr(65279)), '')
{%- endmacro %}

{% macro spark__trim_cell(cell) -%}
    nullif(trim(both ' \t\r\n\u00a0\ufeff' from {{ cell }}), '')
{%- endmacro %}
