{#- A list of ids as it is written in canonical form; NULL items are empty.

    Usage: {{ list_as_text('compound_ids') }}
    Example: [1, NULL, 2] -> '1;;2', NULL -> NULL -#}
{% macro list_as_text(list) -%}
    {{ return(adapter.dispatch('list_as_text', 'labmart')(list)) }}
{%- endmacro %}

{% macro postgres__list_as_text(list) -%}
    array_to_string({{ list }}, ';', '')
{%- endmacro %}

{% macro duckdb__list_as_text(list) -%}
    array_to_string(
        list_transform({{ list }}, lambda item: coalesce(cast(item as varchar), '')), ';'
    )
{%- endmacro %}

{% macro spark__list_as_text(list) -%}
    array_join({{ list }}, ';', '')
{%- endmacro %}
