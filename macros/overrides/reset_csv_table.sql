{#- Lets `dbt seed` take a file whose columns have changed, without --full-refresh.

    dbt empties the table and inserts, which fails for a column that the table lacks. If the columns
    are the same, dbt's own way applies: the table, and the views on it, stay. -#}
{% macro default__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {% set columns = adapter.get_columns_in_relation(old_relation) | map(attribute='name') | list %}
    {% set rebuild = full_refresh or columns != agate_table.column_names | list %}
    {{ return(dbt.default__reset_csv_table(model, rebuild, old_relation, agate_table)) }}
{%- endmacro %}

{#- A new table replaces the old one as a model does, with the views on it (rename_relation). -#}
{% macro postgres__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {% set columns = adapter.get_columns_in_relation(old_relation) | map(attribute='name') | list %}
    {% if not full_refresh and columns == agate_table.column_names | list %}
        {{ return(dbt.default__reset_csv_table(model, false, old_relation, agate_table)) }}
    {% endif %}
    {% set backup = make_backup_relation(old_relation, 'table') %}
    {% do drop_relation_if_exists(load_relation(backup)) %}
    {% do adapter.rename_relation(old_relation, backup) %}
    {% set create = create_csv_table(model, agate_table) %}
    {% do move_dependent_views(backup, old_relation) %}
    {% do adapter.drop_relation(backup) %}
    {% do adapter.cache_added(old_relation) %}
    {{ return(create) }}
{%- endmacro %}

{#- In the lake each run writes beside the last one. -#}
{% macro spark__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {% do adapter.drop_relation(old_relation) %}
    {{ return(create_csv_table(model, agate_table)) }}
{%- endmacro %}
