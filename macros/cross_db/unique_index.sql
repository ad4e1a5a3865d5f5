{#- The configuration of a model that has a key: a unique index, made before readers see the table.

    It proves the key, so that the test need not read the table, and it finds rows by that key.
    Usage: {{ config(indexes=unique_index(['user_id'])) }} -#}
{% macro unique_index(columns) -%}
    {{ return(adapter.dispatch('unique_index', 'labmart')(columns)) }}
{%- endmacro %}

{% macro postgres__unique_index(columns) -%}
    {{ return([{'columns': columns, 'unique': true}]) }}
{%- endmacro %}

{#- In DuckDB an index takes longer than the test of the key, and rows are found by the ranges of
    row groups anyway. -#}
{% macro duckdb__unique_index(columns) -%}
    {{ return([]) }}
{%- endmacro %}

{#- Spark has none. -#}
{% macro spark__unique_index(columns) -%}
    {{ return([]) }}
{%- endmacro %}
