{#- Schemas as dbt names them, `<target>_<custom>`, unless labmart builds beside what readers see:
    then LABMART_BUILD_SCHEMA replaces the schema of the target. Only labmart sets it; see
    loader/publications. A snapshot has rows that no build can make again, so it stays where it
    is. -#}
{% macro generate_schema_name(custom_schema_name=none, node=none) -%}
    {%- set beside = env_var('LABMART_BUILD_SCHEMA', '') -%}
    {%- set is_snapshot = node is not none and node.resource_type == 'snapshot' -%}
    {%- set base = target.schema if is_snapshot or not beside else beside -%}
    {{ base }}{{ '_' ~ custom_schema_name | trim if custom_schema_name is not none }}
{%- endmacro %}
