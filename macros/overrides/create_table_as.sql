{#- Builds a contracted table with `create table … as`, so that PostgreSQL may use all cores.

    dbt creates the table first and fills it with `insert … select`, whose plan is never
    parallel: at ten million experiments that is half the speed. The contract is held all the
    same: dbt's own check compares names and types before anything runs, every mart casts its
    columns, and a test compares the finished columns with the declared ones to the last digit
    of a numeric. A model with constraints, which need the table first, goes dbt's way. -#}
{% macro postgres__create_table_as(temporary, relation, sql) -%}
    {%- set constrained_columns = model.columns.values() | selectattr('constraints') | list -%}
    {%- set is_constrained = model.get('constraints') or constrained_columns -%}
    {%- if temporary or is_constrained or not config.get('contract').enforced -%}
        {{ dbt.postgres__create_table_as(temporary, relation, sql) }}
    {%- else -%}
        {{ get_assert_columns_equivalent(sql) }}
        create {{ 'unlogged' if config.get('unlogged', default=false) }} table {{ relation }} as (
            {{ get_select_subquery(sql) }}
        );
    {%- endif -%}
{%- endmacro %}
