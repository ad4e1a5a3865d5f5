{#- On PostgreSQL, tables and views are created under their own names if nothing has these yet.

    dbt creates them under another name, renames them, and drops what is not there: four more
    statements for each relation of a `labmart build`, which starts in empty schemas. If something
    is there, dbt's way applies, with its care for dependents. -#}
{% materialization table, adapter='postgres' -%}
    {{ return(
        create_in_place('table') if load_cached_relation(this) is none
        else dbt.materialization_table_default()
    ) }}
{%- endmaterialization %}

{% materialization view, adapter='postgres' -%}
    {{ return(
        create_in_place('view') if load_cached_relation(this) is none
        else dbt.materialization_view_default()
    ) }}
{%- endmaterialization %}

{% macro create_in_place(kind) -%}
    {%- set relation = this.incorporate(type=kind) -%}
    {{ run_hooks(pre_hooks, inside_transaction=false) }}
    {{ run_hooks(pre_hooks, inside_transaction=true) }}
    {% call statement('main') -%}
        {%- if kind == 'view' -%}
        {{ get_create_view_as_sql(relation, sql) }}
        {%- else -%}
        {{ get_create_table_as_sql(false, relation, sql) }}
        {%- endif -%}
    {%- endcall %}
    {% if kind == 'table' %}{% do create_indexes(relation) %}{% endif %}
    {{ run_hooks(post_hooks, inside_transaction=true) }}
    {% do apply_grants(relation, config.get('grants'), should_revoke=false) %}
    {% do persist_docs(relation, model) %}
    {{ adapter.commit() }}
    {{ run_hooks(post_hooks, inside_transaction=false) }}
    {{ return({'relations': [relation]}) }}
{%- endmacro %}
