{#- Ends a CTE whose expressions later steps use more than once.

    PostgreSQL folds a CTE into its reader and then works out an expression again at every mention
    of its column. An offset of nothing keeps the step apart and, unlike `materialized`, leaves the
    plan parallel; as the literal '0', since the planner takes the number 0, which still has to be
    cast to bigint, for a real offset and stops being parallel above it.
    Usage: select … from source {{ evaluate_once() }} -#}
{% macro evaluate_once() -%}
    {{ return(adapter.dispatch('evaluate_once', 'labmart')()) }}
{%- endmacro %}

{% macro postgres__evaluate_once() -%}
    offset '0'
{%- endmacro %}

{#- DuckDB works a common expression out once. -#}
{% macro duckdb__evaluate_once() -%}
{%- endmacro %}

{#- So does Spark. -#}
{% macro spark__evaluate_once() -%}
{%- endmacro %}
