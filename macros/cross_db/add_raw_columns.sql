{#- Adds the columns that a raw table of an earlier version lacks; the names of those added.

    `labmart load` does the same (loader/engines/raw_store.py).
    Usage: {% do add_raw_columns(relation, [{'name': 'dates', 'data_type': 'text'}]) %} -#}
{% macro add_raw_columns(relation, columns) -%}
    {{ return(adapter.dispatch('add_raw_columns', 'labmart')(relation, columns)) }}
{%- endmacro %}

{% macro postgres__add_raw_columns(relation, columns) -%}
    {%- set present = adapter.get_columns_in_relation(relation) | map(attribute='name') | list -%}
    {%- set lacking = columns | rejectattr('name', 'in', present) | list -%}
    {%- for column in lacking -%}
        {% call statement('add_raw_column') -%}
            alter table {{ relation }}
            add column if not exists {{ adapter.quote(column.name) }} {{ column.data_type }}
        {%- endcall %}
    {%- endfor -%}
    {{ return(lacking | map(attribute='name') | list) }}
{%- endmacro %}

{% macro duckdb__add_raw_columns(relation, columns) -%}
    {{ return(labmart.postgres__add_raw_columns(relation, columns)) }}
{%- endmacro %}

{#- Its ledger is written anew with each load, by the columns of today. -#}
{% macro spark__add_raw_columns(relation, columns) -%}
    {{ return([]) }}
{%- endmacro %}
