{#- In the fixtures of unit tests lists are written as in files, `1;;2`, since dbt knows no lists.

    dbt casts the values of a fixture to the column's type, which engines name differently. -#}
{% macro postgres__safe_cast(field, type) -%}
    {{ return(_cast_fixture(field, type, 'bigint[]')) }}
{%- endmacro %}

{% macro duckdb__safe_cast(field, type) -%}
    {{ return(_cast_fixture(field, type, 'bigint[]')) }}
{%- endmacro %}

{% macro spark__safe_cast(field, type) -%}
    {{ return(_cast_fixture(field, type, 'array<bigint>')) }}
{%- endmacro %}

{% macro _cast_fixture(field, type, list_type) -%}
    {%- set is_list = type | lower in ['array', 'array<bigint>', 'bigint[]', 'list'] -%}
    {%- if is_list and field | trim != 'null' -%} {{ to_id_list(field) }}
    {%- elif is_list -%} cast(null as {{ list_type }})
    {%- else -%} {{ dbt.cast(field, type) }}
    {%- endif -%}
{%- endmacro %}
