{#- The item of a list at a position from 1; NULL of no list.

    Usage: {{ list_item('compound_ids', 'position') }}
    Example: [1, NULL, 3] at 3 -> 3 -#}
{% macro list_item(list, position) -%}
    {{ return(adapter.dispatch('list_item', 'labmart')(list, position)) }}
{%- endmacro %}

{% macro postgres__list_item(list, position) -%}
    ({{ list }})[{{ position }}]
{%- endmacro %}

{% macro duckdb__list_item(list, position) -%}
    {{ list }}[{{ position }}]
{%- endmacro %}

{% macro spark__list_item(list, position) -%}
    element_at({{ list }}, cast({{ position }} as int))
{%- endmacro %}
