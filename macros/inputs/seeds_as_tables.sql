{#- Turns seeds that this run of dbt loads, and that labmart has published as views, back into
    tables, since dbt can only seed a table. Returns the names of those it has changed.

    Usage, at the start of a run: {% do seeds_as_tables() %} -#}
{% macro seeds_as_tables() -%}
    {% set changed = [] %}
    {% set seeds = graph.nodes.values() | selectattr('resource_type', 'equalto', 'seed') %}
    {% for seed in seeds | selectattr('unique_id', 'in', selected_resources | default([])) %}
        {% set seen = load_relation(api.Relation.create(
            database=seed.database, schema=seed.schema, identifier=seed.alias
        )) %}
        {% if seen is not none and seen.is_view %}
            {% set table = seen.incorporate(type='table') %}
            {% set aside = make_backup_relation(table, 'view') %}
            {% do adapter.rename_relation(seen, aside) %}
            {% call statement('make_table') -%}
                create table {{ table }} as select * from {{ aside }}
            {%- endcall %}
            {% do adapter.cache_added(table) %}
            {% do lead_views(aside, table) %}
            {% do adapter.drop_relation(aside) %}
            {% do changed.append(table) %}
        {% endif %}
    {% endfor %}
    {{ return(changed) }}
{%- endmacro %}
