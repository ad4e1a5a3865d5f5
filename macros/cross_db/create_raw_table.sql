{#- Creates one raw table when it is missing; an existing one is left as it is.

    Usage: {% do create_raw_table(relation, [{'name': 'user_id', 'data_type': 'text'}]) %} -#}
{% macro create_raw_table(relation, columns) -%}
    {{ return(adapter.dispatch('create_raw_table', 'labmart')(relation, columns)) }}
{%- endmacro %}

{#- The rows of a load are next to each other, so an index of block ranges finds them at almost no
    cost. loader/engines/postgres.py makes the same one. -#}
{% macro postgres__create_raw_table(relation, columns) -%}
    {% do labmart.duckdb__create_raw_table(relation, columns) %}
    {% if columns | selectattr('name', 'equalto', 'line') | list %}
        {% call statement('create_index') -%}
            create index if not exists {{ adapter.quote(relation.identifier ~ '_load_id') }}
            on {{ relation }} using brin (load_id)
            with (pages_per_range = 32, autosummarize = on)
        {%- endcall %}
    {% endif %}
{%- endmacro %}

{% macro duckdb__create_raw_table(relation, columns) -%}
    {% call statement('create_raw_table') -%}
        create table if not exists {{ relation }} (
            {%- for column in columns %}
            {{ adapter.quote(column.name) }} {{ column.data_type }}{{ ',' if not loop.last }}
            {%- endfor %}
        )
    {%- endcall %}
{%- endmacro %}

{#- On Spark it is Parquet in the lake, like everything that a run of dbt makes. -#}
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
