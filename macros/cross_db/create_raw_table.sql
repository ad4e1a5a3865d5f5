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

{#- Rows of a load are a partition, so that a load is added and deleted as a whole. The ledger,
    whose rows change, is a view on the newest of its revisions: Spark cannot update a file.
    loader/engines/spark_tables.py makes the same. -#}
{% macro spark__create_raw_table(relation, columns) -%}
    {%- set is_ledger = columns | selectattr('name', 'equalto', 'status') | list -%}
    {%- set history_name = relation.identifier ~ '_history' -%}
    {%- set history = relation.incorporate(path={'identifier': history_name}) -%}
    {%- set table = history if is_ledger else relation -%}
    {%- set key = 'revision' if is_ledger else 'load_id' -%}
    {#- a seed is no partition of anything -#}
    {%- set is_partitioned = is_ledger or columns | selectattr('name', 'equalto', key) | list -%}
    {%- set words = {'text': 'string', 'timestamp with time zone': 'timestamp'} -%}
    {% call statement('create_raw_table') -%}
        create table if not exists {{ table }} (
            {%- for column in columns if column.name != key %}
            {{ adapter.quote(column.name) }} {{ words.get(column.data_type, column.data_type) }}
            {{- ',' if is_partitioned or not loop.last }}
            {%- endfor %}
            {{ key ~ ' bigint' if is_partitioned }}
        ) using parquet
        {{ 'partitioned by (' ~ key ~ ')' if is_partitioned }}
    {%- endcall %}
    {% if is_ledger %}
        {% call statement('create_ledger') -%}
            create view if not exists {{ relation }} as
            select {{ columns | map(attribute='name') | join(', ') }}
            from {{ history }}
            where revision = (select max(revision) from {{ history }})
        {%- endcall %}
    {% endif %}
{%- endmacro %}
