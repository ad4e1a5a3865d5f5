{#- The number of items of a plain list (see plain_list) that are not empty; 0 for NULL.

    Usage: {{ count_items('compound_ids') }}
    Example: '1;;2' -> 2, '' -> 0, NULL -> 0 -#}
{% macro count_items(list) -%}
    {{ return(adapter.dispatch('count_items', 'labmart')(list)) }}
{%- endmacro %}

{% macro postgres__count_items(list) -%}
    coalesce(cardinality(array_remove(string_to_array({{ list }}, ';'), '')), 0)
{%- endmacro %}

{% macro duckdb__count_items(list) -%}
    coalesce(len(list_filter(string_split({{ list }}, ';'), lambda item: item <> '')), 0)
{%- endmacro %}

{% macro spark__count_items(list) -%}
    coalesce(array_size(array_remove(split({{ list }}, ';', -1), '')), 0)
{%- endmacro %}
