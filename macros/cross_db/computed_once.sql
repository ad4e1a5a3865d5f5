{#- The rows of a relation, each expression computed once however often later steps use it.

    PostgreSQL folds a step into its reader and then computes an expression again wherever its
    column is mentioned. An offset of zero prevents that and, unlike `materialized`, keeps the plan
    parallel. It has to be the literal '0': the number 0 would still have to be cast to bigint, so
    the planner takes it for a real offset and is no longer parallel above it.
    Usage: select … from {{ computed_once('parsed') }} -#}
{% macro computed_once(relation) -%}
    {{ return(adapter.dispatch('computed_once', 'labmart')(relation)) }}
{%- endmacro %}

{% macro postgres__computed_once(relation) -%}
    (select * from {{ relation }} offset '0') as {{ relation }}
{%- endmacro %}

{#- DuckDB computes a common expression once. -#}
{% macro duckdb__computed_once(relation) -%}
    {{ relation }}
{%- endmacro %}

{#- So does Spark. -#}
{% macro spark__computed_once(relation) -%}
    {{ relation }}
{%- endmacro %}
