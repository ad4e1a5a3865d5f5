{#- Publishes what a run has built, all of it in one step, if nothing of the run has failed: one
    file says so, and names the columns of each relation. Before that the session's catalogue, which
    may be shared or a metastore's, gets the marts by the names that readers know.

    Runs at the end of dbt's commands. On other engines what is built is what readers see. -#}
{% macro publish(results) -%}
    {{ return(adapter.dispatch('publish', 'labmart')(results)) }}
{%- endmacro %}

{% macro default__publish(results) -%}
{%- endmacro %}

{% macro spark__publish(results) -%}
    {% if not execute or flags.WHICH not in ['build', 'run', 'seed'] %}{{ return('') }}{% endif %}
    {%- set session = api.Relation.create(schema=generate_schema_name() | trim) -%}
    {%- set rows, marts, schemas = [], [], [session.schema, session.schema ~ '_raw'] -%}
    {% for result in results %}
        {%- set node = result.node -%}
        {% if result.status not in ['success', 'pass', 'warn', 'no-op'] %}
            {{ return('') }}
        {% endif %}
        {% if node.resource_type in ['model', 'seed'] and node.config.materialized != 'ephemeral' %}
            {%- set relation = api.Relation.create(schema=node.schema, identifier=node.alias) -%}
            {%- set columns = [] -%}
            {%- for column in adapter.get_columns_in_relation(relation) -%}
                {% do columns.append(adapter.quote(column.name) ~ ' ' ~ column.dtype) %}
            {%- endfor -%}
            {%- set columns = columns | join(', ') -%}
            {%- set row = [build_name(), lake_schema(node.schema), node.alias, columns] -%}
            {% do rows.append("('" ~ row | join("', '") ~ "')") %}
            {% do schemas.append(node.schema) %}
            {% if node.schema == session.schema %}
                {% do marts.append((relation, columns)) %}
            {% endif %}
        {% endif %}
    {% endfor %}
    {% if not rows %}{{ return('') }}{% endif %}
    {% if session.schema != target.schema %}
        {% for relation, columns in marts %}
            {%- set known = relation.incorporate(path={'schema': target.schema}) -%}
            {% do register_table(known, columns, build_location(relation), shared=true) %}
        {% endfor %}
        {% for schema in schemas | unique %}
            {% do adapter.drop_schema(api.Relation.create(schema=schema)) %}
        {% endfor %}
    {% endif %}
    {%- set place = [lake_location(), target.schema, 'published', build_name()] | join('/') -%}
    {% call statement('publish') -%}
        insert overwrite directory '{{ escape_single_quotes(place) }}'
        using parquet
        select /*+ coalesce(1) */ *
        from values {{ rows | join(', ') }} as published (build, schema_name, name, columns)
    {%- endcall %}
{%- endmacro %}
