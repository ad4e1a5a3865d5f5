{#- Publishes what a run has built, all of it in one step, if nothing of the run has failed: one
    file says so, and names the columns of each relation.

    Runs at the end of dbt's commands. On other engines what is built is what readers see. -#}
{% macro publish(results) -%}
    {{ return(adapter.dispatch('publish', 'labmart')(results)) }}
{%- endmacro %}

{% macro default__publish(results) -%}
{%- endmacro %}

{% macro spark__publish(results) -%}
    {% if not execute or flags.WHICH not in ['build', 'run', 'seed'] %}{{ return('') }}{% endif %}
    {%- set rows = [] -%}
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
            {% do rows.append(
                "('" ~ [build_name(), node.schema, node.alias, columns | join(', ')] | join("', '")
                ~ "')"
            ) %}
        {% endif %}
    {% endfor %}
    {% if not rows %}{{ return('') }}{% endif %}
    {%- set log = api.Relation.create(schema=target.schema, identifier='labmart_publishing') -%}
    {%- set place = [lake_location(), target.schema, 'published', build_name()] | join('/') -%}
    {% do run_query('drop table if exists ' ~ log) %}
    {% call statement('publish') -%}
        create table {{ log }}
        using parquet
        location '{{ escape_single_quotes(place) }}'
        as
        select /*+ coalesce(1) */ *
        from values {{ rows | join(', ') }} as published (build, schema_name, name, columns)
    {%- endcall %}
{%- endmacro %}
