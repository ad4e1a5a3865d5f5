{#- Waits until nobody else creates or loads raw tables, and keeps others waiting until the
    transaction ends: PostgreSQL refuses one of two sessions that create the same table at once.

    `labmart load` takes the same lock (loader/engines/postgres.py).
    Usage: {% do lock_raw_tables('labmart_raw') %} -#}
{% macro lock_raw_tables(schema) -%}
    {{ return(adapter.dispatch('lock_raw_tables', 'labmart')(schema)) }}
{%- endmacro %}

{% macro postgres__lock_raw_tables(schema) -%}
    {% call statement('lock_raw_tables') -%}
        select pg_advisory_xact_lock(
            hashtextextended('labmart raw tables ' || '{{ schema | replace("'", "''") }}', 0)
        )
    {%- endcall %}
{%- endmacro %}

{#- A DuckDB file is open for writing in one process, which creates its tables one by one. -#}
{% macro duckdb__lock_raw_tables(schema) -%}
{%- endmacro %}

{#- The lake's tables are files; a session has its own, or makes them one by one. -#}
{% macro spark__lock_raw_tables(schema) -%}
{%- endmacro %}
