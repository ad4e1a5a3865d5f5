{#- The rows of a relation, each expression worked out once although later steps use it often.

    PostgreSQL folds a step into its reader and then works out an expression again at every mention
    of its column. An offset of nothing keeps the step apart and, unlike `materialized`, leaves the
    plan parallel; as the literal '0', since the planner takes the number 0, which still has to be
    cast to bigint, for a real offset and stops being parallel above it.
    Usage: select … from {{ computed_once('parsed') }} -#}
{% macro computed_once(relation) -%}
    {{ return(adapter.dispatch('computed_once', 'labmart')(relation)) }}
{%- endmacro %}

{% macro postgres__computed_once(relation) -%}
    (select * from {{ relation }} offset '0') as {{ relation }}
{%- endmacro %}

{#- DuckDB works a common expression out once. -#}
{% macro duckdb__computed_once(relation) -%}
    {{ relation }}
{%- endmacro %}

{#- So does Spark. -#}
{% macro spark__computed_once(relation) -%}
    {{ relation }}
{%- endmacro %}
