{#- Whether the database itself guarantees that no two rows of a relation agree in the columns, as a
    condition that does not depend on a row. False for a part of a relation (`where`).

    Usage, in a test: where not ({{ is_held_unique(model, ['user_id']) }}) -#}
{% macro is_held_unique(relation, columns) -%}
    {%- if relation is string or not relation.identifier -%}{{ return('false') }}{%- endif -%}
    {{ return(adapter.dispatch('is_held_unique', 'labmart')(relation, columns)) }}
{%- endmacro %}

{% macro postgres__is_held_unique(relation, columns) -%}
    exists (
        select
        from pg_catalog.pg_index as indexes
        inner join pg_catalog.pg_class as tables on indexes.indrelid = tables.oid
        inner join pg_catalog.pg_namespace as schemas on tables.relnamespace = schemas.oid
        where
            schemas.nspname = '{{ relation.schema }}'
            and tables.relname = '{{ relation.identifier }}'
            and indexes.indisunique and indexes.indisvalid
            and indexes.indpred is null and indexes.indexprs is null
            and (
                select array_agg(cast(columns.attname as text) order by columns.attname)
                from pg_catalog.pg_attribute as columns
                where
                    columns.attrelid = indexes.indrelid
                    and columns.attnum = any(indexes.indkey)
            ) = cast(array['{{ columns | sort | join("', '") }}'] as text[])
    )
{%- endmacro %}

{#- No index holds a key there (unique_index). -#}
{% macro duckdb__is_held_unique(relation, columns) -%}
    false
{%- endmacro %}

{#- Spark has no index either. -#}
{% macro spark__is_held_unique(relation, columns) -%}
    false
{%- endmacro %}
