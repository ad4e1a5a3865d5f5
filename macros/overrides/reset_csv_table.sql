{#- Lets `dbt seed` take a file whose columns differ from last time's without --full-refresh.

    dbt empties the table and inserts, which fails for a column the table lacks. Where the
    columns are the same, dbt's own way stands: the table, and the views on it, stay. -#}
{% macro default__reset_csv_table(model, full_refresh, old_relation, agate_table) -%}
    {% set columns = adapter.get_columns_in_relation(old_relation) | map(attribute='name') | list %}
    {% set rebuild = full_refresh or columns != agate_table.column_names | list %}
    {{ return(dbt.default__reset_csv_table(model, rebuild, old_relation, agate_table)) }}
{%- endmacro %}
