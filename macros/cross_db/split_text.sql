{#- A list's items as they are written, an array of texts. Positions stay; NULL stays NULL.

    Usage: {{ split_text('compound_list_cell') }}
    Example: '1; x;' -> ['1', ' x', ''] -#}
{% macro split_text(text) -%}
    {{ return(adapter.dispatch('split_text', 'labmart')(text)) }}
{%- endmacro %}

{% macro postgres__split_text(text) -%}
    string_to_array({{ text }}, ';')
{%- endmacro %}

{% macro duckdb__split_text(text) -%}
    string_split({{ text }}, ';')
{%- endmacro %}

{% macro spark__split_text(text) -%}
    split({{ text }}, ';', -1)
{%- endmacro %}
