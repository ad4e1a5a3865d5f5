{#- Tells the session what lies in the lake: the raw tables, and each published relation that this
    run does not build itself. A catalogue that has forgotten them, or never knew, does no harm.

    Part of `create_raw_tables`. Nothing to do where a database keeps its tables itself. -#}
{% macro register_lake() -%}
    {{ return(adapter.dispatch('register_lake', 'labmart')()) }}
{%- endmacro %}

{% macro default__register_lake() -%}
{%- endmacro %}

{% macro spark__register_lake() -%}
    {% for source in graph.sources.values() | selectattr('source_name', 'equalto', 'raw') %}
        {%- set raw = api.Relation.create(schema=source.schema, identifier=source.identifier) -%}
        {%- set columns = [] -%}
        {%- for column in source.columns.values() -%}
            {% do columns.append(adapter.quote(column.name) ~ ' ' ~ spark_type(column.data_type)) %}
        {%- endfor -%}
        {%- set schema = env_var('LABMART_RAW_SCHEMA', '') or 'labmart_raw' -%}
        {%- set place = [lake_location(), schema, source.identifier] | join('/') -%}
        {% if source.identifier == 'loads' %}
            {% do register_ledger(raw, columns, source.columns, place) %}
        {% else %}
            {% do register_table(raw, columns | join(', '), place) %}
        {% endif %}
    {% endfor %}
    {% do register_published() %}
{%- endmacro %}

{#- Each call adds an entry to the ledger; of a load the last row counts. -#}
{% macro register_ledger(ledger, columns, declared, place) -%}
    {%- set entries = ledger.incorporate(path={'identifier': ledger.identifier ~ '_entries'}) -%}
    {% do register_table(entries, columns | join(', ') ~ ', entry bigint', place) %}
    {% do run_query('drop view if exists ' ~ ledger) %}
    {% call statement('create_ledger') -%}
        create view {{ ledger }} as
        select {{ declared.values() | map(attribute='name') | join(', ') }}
        from (
            select
                *,
                row_number() over (partition by load_id order by entry desc) as age
            from {{ entries }}
        ) as rows_of_loads
        where age = 1 and status <> 'pruned'
    {%- endcall %}
{%- endmacro %}

{% macro register_published() -%}
    {%- set session = generate_schema_name() | trim -%}
    {%- set log = api.Relation.create(schema=session, identifier='labmart_published') -%}
    {%- set place = lake_location() ~ '/' ~ target.schema -%}
    {% do register_table(
        log,
        'build string, schema_name string, name string, columns string',
        place ~ '/published'
    ) %}
    {%- set newest = run_query(
        'select schema_name, name, max(build) as build, max_by(columns, build) as columns from '
        ~ log ~ ' group by schema_name, name'
    ) -%}
    {%- set chosen = selected_resources | default([]) -%}
    {%- set nodes = graph.nodes.values() | selectattr('unique_id', 'in', chosen) -%}
    {%- set built = nodes | map(attribute='relation_name') | list -%}
    {% for schema, name, build, columns in newest.rows %}
        {%- set relation = api.Relation.create(
            schema=session ~ schema[target.schema | length:], identifier=name
        ) -%}
        {% if relation.render() not in built %}
            {% do register_table(
                relation, columns, [place, 'builds', build, schema, name] | join('/')
            ) %}
        {% endif %}
    {% endfor %}
{%- endmacro %}

{#- A table that stands on files; to drop it leaves them. One that is there already may stand on
    other files, or have listed them when they were fewer. With `shared` another run may make it at
    the same time, which is no error. -#}
{% macro register_table(relation, columns, place, shared=false) -%}
    {% do create_schema(relation.without_identifier()) %}
    {% do run_query('drop table if exists ' ~ relation) %}
    {% call statement('register_table') -%}
        create table {{ 'if not exists ' if shared }}{{ relation }} ({{ columns }})
        using parquet
        options (recursiveFileLookup 'true')
        location '{{ escape_single_quotes(place) }}'
    {%- endcall %}
{%- endmacro %}
