{#- Creates whatever the models read that is not there yet: the raw schema with every table of the
    source `raw`, from the source YAML, and each seed, without rows.

    Runs at the start of every dbt command, so that a first `dbt build` works on an empty
    database, and `dbt run` on loads without seeds. A table that exists is only looked up, never
    locked: other sessions may be loading into it. The ledger of an earlier version gets the columns
    it lacks. -#}
{% macro create_raw_tables() -%}
    {% set commands = ['build', 'run', 'test', 'seed', 'freshness', 'run-operation'] %}
    {% if not execute or flags.WHICH not in commands %}
        {{ return('') }}
    {% endif %}
    {% do register_lake() %}
    {% set declared = graph.sources.values() | selectattr('source_name', 'equalto', 'raw') | list %}
    {#- `dbt seed` and `dbt build` create the seeds themselves. -#}
    {% if flags.WHICH in ['run', 'test'] %}
        {% set own = graph.nodes.values() | selectattr('package_name', 'equalto', project_name) %}
        {% set declared = declared + own | selectattr('resource_type', 'equalto', 'seed') | list %}
    {% endif %}
    {% set created = seeds_as_tables() %}
    {% for table in declared %}
        {% set relation = api.Relation.create(
            database=table.database,
            schema=table.schema,
            identifier=table.identifier or table.alias,
            type='table'
        ) %}
        {% if load_relation(relation) is none %}
            {% do lock_raw_tables(table.schema) %}
            {% do create_schema(relation.without_identifier()) %}
            {% do create_raw_table(relation, table.columns.values() | list) %}
            {% do created.append(relation) %}
        {% elif table.name == 'loads' %}
            {% do created.extend(add_raw_columns(relation, table.columns.values() | list)) %}
        {% endif %}
    {% endfor %}
    {#- Not every adapter commits a hook that has no SQL of its own. -#}
    {% if created %}{% do adapter.commit() %}{% endif %}
{%- endmacro %}
