{#- The number of items of a list that are not NULL; 0 for no list.

    Usage: {{ list_size('compound_ids') }}
    Example: [1, NULL, 2] -> 2, NULL -> 0 -#}
{% macro list_size(list) -%}
    {{ return(adapter.dispatch('list_size', 'labmart')(list)) }}
{%- endmacro %}

{% macro postgres__list_size(list) -%}
    coalesce(cardinality(array_remove({{ list }}, null)), 0)
{%- endmacro %}

{#- DuckDB counts what is not NULL. -#}
{% macro duckdb__list_size(list) -%}
    coalesce(list_aggregate({{ list }}, 'count'), 0)
{%- endmacro %}

{% macro spark__list_size(list) -%}
    coalesce(array_size(array_compact({{ list }})), 0)
{%- endmacro %}
