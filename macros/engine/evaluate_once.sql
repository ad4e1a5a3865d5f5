{#- Ends a CTE whose expressions later steps use more than once.

    PostgreSQL folds a CTE into its reader and then works out an expression again at every
    mention of its column; `offset 0` keeps the step apart without stopping a parallel plan, as
    `materialized` would.
    Usage: select … from source {{ evaluate_once() }} -#}
{% macro evaluate_once() -%}
    {{ return(adapter.dispatch('evaluate_once', 'labmart')()) }}
{%- endmacro %}

{% macro postgres__evaluate_once() -%}
    offset 0
{%- endmacro %}
