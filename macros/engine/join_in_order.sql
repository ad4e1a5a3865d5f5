{#- The texts of a group joined by a separator, in the order of an expression (an aggregate).

    Usage: {{ join_in_order('cast(compound_id as text)', ';', 'compound_id') }}
    Example: 3, 1, 20 -> '1;3;20' -#}
{% macro join_in_order(text, separator, order_by) -%}
    {{ return(adapter.dispatch('join_in_order', 'labmart')(text, separator, order_by)) }}
{%- endmacro %}

{% macro postgres__join_in_order(text, separator, order_by) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ order_by }})
{%- endmacro %}

{% macro duckdb__join_in_order(text, separator, order_by) -%}
    string_agg({{ text }}, '{{ separator }}' order by {{ order_by }})
{%- endmacro %}

{% macro spark__join_in_order(text, separator, order_by) -%}
    listagg({{ text }}, '{{ separator }}') within group (order by {{ order_by }})
{%- endmacro %}
