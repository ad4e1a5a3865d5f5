{#- Where the lake is, and what this run of dbt makes in it; loader/engines/lake.py says what lies
    where.

    Example: lake_location() -> 's3://bucket/lab' -#}
{% macro lake_location() -%}
    {{ return(env_var('LABMART_LAKE', '') or flags.PROFILES_DIR ~ '/.labmart/lake') }}
{%- endmacro %}

{#- Builds are told apart, and put in order, by when they began. -#}
{% macro build_name() -%}
    {{ return(run_started_at.strftime('%Y%m%dT%H%M%S.%f') ~ '-' ~ invocation_id[:8]) }}
{%- endmacro %}

{#- Whatever its schema is called in the session: names in the lake are those that readers know. -#}
{% macro lake_schema(schema) -%}
    {%- set beside = env_var('LABMART_BUILD_SCHEMA', '') -%}
    {%- set is_beside = beside and schema.startswith(beside) -%}
    {{ return(target.schema ~ schema[beside | length:] if is_beside else schema) }}
{%- endmacro %}

{% macro build_location(relation) -%}
    {{ return([
        lake_location(),
        target.schema,
        'builds',
        build_name(),
        lake_schema(relation.schema),
        relation.identifier
    ] | join('/')) }}
{%- endmacro %}

{#- dbt's own clause is for tables that stay where they are; a run here writes beside the last. -#}
{% macro spark__location_clause() -%}
    location '{{ escape_single_quotes(build_location(this)) }}'
{%- endmacro %}
