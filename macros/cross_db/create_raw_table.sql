{#- Creates one raw table when it is missing; an existing one is left as it is.

    Usage: {% do create_raw_table(relation, [{'name': 'user_id', 'data_type': 'text'}]) %} -#}
{% macro create_raw_table(relation, columns) -%}
    {{ return(adapter.dispatch('create_raw_table', 'labmart')(relation, columns)) }}
{%- endmacro %}

{% macro postgres__create_raw_table(relation, columns) -%}
    {% call statement('create_raw_table') -%}
        create table if not exists {{ relation }} (
            {%- for column in columns %}
            {{ adapter.quote(column.name) }} {{ column.data_type }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    {%- endcall %}
{%- endmacro %}

{% macro duckdb__create_raw_table(relation, columns) -%}
    {{ return(labmart.postgres__create_raw_table(relation, columns)) }}
{%- endmacro %}

{#- On Spark it is Parquet in the lake, as what a run of dbt makes is. -#}
{% macro spark__create_raw_table(relation, columns) -%}
    {% call statement('create_raw_table') -%}
        create table if not exists {{ relation }} (
            {%- for column in columns %}
            {{ adapter.quote(column.name) }} {{ spark_type(column.data_type) }}
            {{- ',' if not loop.last }}
            {%- endfor %}
        ) using parquet location '{{ escape_single_quotes(build_location(relation)) }}'
    {%- endcall %}
{%- endmacro %}
