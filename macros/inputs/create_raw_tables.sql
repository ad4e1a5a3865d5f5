{#- Creates the raw schema and every table of the source `raw` that is missing, from the source
    YAML.

    Runs at the start of every dbt command, so that a first `dbt build` works on an empty
    database. A table that exists is only looked up, never locked: other sessions may be
    loading into it. -#}
{% macro create_raw_tables() -%}
    {% set commands = ['build', 'run', 'test', 'seed', 'retry', 'freshness', 'run-operation'] %}
    {% if not execute or flags.WHICH not in commands %}
        {{ return('') }}
    {% endif %}
    {% set created = [] %}
    {% set sources = graph.sources.values() | selectattr('source_name', 'equalto', 'raw') | list %}
    {% if sources %}{% do refuse_earlier_raw_schema(sources[0].schema) %}{% endif %}
    {% for source in sources %}
        {% set relation = api.Relation.create(
            database=source.database,
            schema=source.schema,
            identifier=source.identifier,
            type='table'
        ) %}
        {% if load_relation(relation) is none %}
            {% do lock_raw_tables(source.schema) %}
            {% do create_schema(relation.without_identifier()) %}
            {% do create_raw_table(relation, source.columns.values() | list) %}
            {% do created.append(relation) %}
        {% endif %}
    {% endfor %}
    {#- A hook without SQL of its own is not committed by every adapter. -#}
    {% if created %}{% do adapter.commit() %}{% endif %}
{%- endmacro %}
