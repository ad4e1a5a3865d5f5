{#- The configuration of a model whose rows are looked up by columns that are no key of it.

    Usage: {{ config(indexes=row_index(['experiment_id'])) }} -#}
{% macro row_index(columns) -%}
    {{ return(adapter.dispatch('row_index', 'labmart')(columns)) }}
{%- endmacro %}

{% macro postgres__row_index(columns) -%}
    {{ return([{'columns': columns}]) }}
{%- endmacro %}

{#- DuckDB finds rows by the ranges of its row groups. -#}
{% macro duckdb__row_index(columns) -%}
    {{ return([]) }}
{%- endmacro %}

{#- Spark has none. -#}
{% macro spark__row_index(columns) -%}
    {{ return([]) }}
{%- endmacro %}
