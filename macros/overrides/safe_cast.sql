{#- Lists in the fixtures of unit tests are written as in the files, `1;;2`; dbt knows no lists.

    dbt casts what a fixture holds to the column's type, which engines name differently. -#}
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
