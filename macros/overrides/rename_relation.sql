{#- Puts a new relation in the place of an old one and keeps the views on it.

    dbt renames the old relation to `…__dbt_backup` and the new one to its name, and finally drops
    the backup with `cascade`. A view depends on the relation and not on its name, so dbt would drop
    it too, whether it is the project's or anybody else's. Here views are pointed to the new
    relation first (move_dependent_views).

    Models do so one at a time: two that lock the same views could wait for each other. -#}
{% macro postgres__rename_relation(from_relation, to_relation) -%}
    {%- set backup = make_backup_relation(to_relation, 'table') -%}
    {% if to_relation.identifier == make_backup_relation(from_relation, 'table').identifier %}
        {% call statement('take_turns') -%}
            select pg_advisory_xact_lock(hashtextextended('labmart puts a relation in place', 0))
        {%- endcall %}
    {% endif %}
    {{ dbt.default__rename_relation(from_relation, to_relation) }}
    {% if from_relation.identifier == make_intermediate_relation(to_relation).identifier %}
        {% do move_dependent_views(backup, to_relation) %}
    {% endif %}
{%- endmacro %}
