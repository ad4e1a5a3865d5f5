{#- Leads the views on one relation to another that takes its place (PostgreSQL).

    `create or replace view` keeps a view with its owner, rights and comments, and all that stands
    on it. Where the new relation has other columns or types, PostgreSQL refuses that; then the view
    and what stands on it are made anew from their definitions, with owner, rights, comments and
    the indexes of materialized views. A view that the new relation cannot serve any more, or that
    belongs to a role one is no member of, is lost as it would be with dbt alone: a warning names
    it.

    Expects both in one schema, the old one renamed already, in dbt's transaction.
    Usage: {% do move_dependent_views(backup, relation) %} -#}
{% macro move_dependent_views(old, new) -%}
    {%- set block -%}
        do $move$
        declare
            old_relation constant oid := to_regclass('{{ old.include(database=false) }}');
            new_relation constant oid := to_regclass('{{ new.include(database=false) }}');
            old_path constant text := current_setting('search_path');
            lost text[] := '{}';
            direct record;
            dependent record;
            step text;
        begin
            if old_relation is null or new_relation is null then
                return;
            end if;
            create temporary table moved_views on commit drop as
            with recursive dependents (direct, relation, depth) as (
                select distinct rules.ev_class, rules.ev_class, 1
                from pg_catalog.pg_depend as links
                inner join pg_catalog.pg_rewrite as rules on links.objid = rules.oid
                where
                    links.classid = 'pg_catalog.pg_rewrite'::regclass
                    and links.refclassid = 'pg_catalog.pg_class'::regclass
                    and links.refobjid = old_relation and rules.ev_class <> old_relation
                union
                select dependents.direct, rules.ev_class, dependents.depth + 1
                from dependents
                inner join pg_catalog.pg_depend as links
                    on dependents.relation = links.refobjid
                inner join pg_catalog.pg_rewrite as rules on links.objid = rules.oid
                where
                    links.classid = 'pg_catalog.pg_rewrite'::regclass
                    and links.refclassid = 'pg_catalog.pg_class'::regclass
                    and rules.ev_class <> dependents.relation
            )
            select
                dependents.direct,
                dependents.relation,
                max(dependents.depth) as depth,
                format('%I.%I', schemas.nspname, classes.relname) as name,
                null::text as definition,
                null::text[] as steps
            from dependents
            inner join pg_catalog.pg_class as classes on dependents.relation = classes.oid
            inner join pg_catalog.pg_namespace as schemas on classes.relnamespace = schemas.oid
            group by dependents.direct, dependents.relation, schemas.nspname, classes.relname;
            if not exists (select from moved_views) then
                drop table moved_views;
                return;
            end if;
            if exists (select from moved_views where relation = new_relation) then
                raise exception
                    '% would read itself by way of %: drop that view or build it first.',
                    new_relation::regclass,
                    (select name from moved_views where relation <> new_relation limit 1);
            end if;

            -- A definition names what it reads as that is called now: for a moment, as ever. All
            -- names are written out without a search path.
            alter table {{ new.include(database=false) }}
                rename to "{{ new.identifier }}__dbt_new";
            alter table {{ old.include(database=false) }} rename to "{{ new.identifier }}";
            perform set_config('search_path', '', true);
            update pg_temp.moved_views
            set
                definition = format(
                    '%s%s as %s',
                    name,
                    (
                        select ' with (' || array_to_string(classes.reloptions, ', ') || ')'
                        from pg_catalog.pg_class as classes
                        where classes.oid = relation
                    ),
                    pg_get_viewdef(relation)
                ),
                steps = array(
                    select format(
                        'alter table %s owner to %I', name, pg_get_userbyid(classes.relowner)
                    )
                    from pg_catalog.pg_class as classes
                    where classes.oid = relation
                    union all
                    select format(
                        'grant %s on %s to %s%s',
                        rights.privilege_type,
                        name,
                        case
                            when rights.grantee = 0 then 'public'
                            else quote_ident(pg_get_userbyid(rights.grantee))
                        end,
                        case when rights.is_grantable then ' with grant option' else '' end
                    )
                    from pg_catalog.pg_class as classes
                    cross join aclexplode(classes.relacl) as rights
                    where classes.oid = relation and rights.grantee <> classes.relowner
                    union all
                    select format(
                        'comment on %s %s is %L',
                        case
                            when notes.objsubid > 0 then 'column'
                            when classes.relkind = 'm' then 'materialized view'
                            else 'view'
                        end,
                        name || coalesce('.' || quote_ident(columns.attname), ''),
                        notes.description
                    )
                    from pg_catalog.pg_class as classes
                    inner join pg_catalog.pg_description as notes
                        on
                            classes.oid = notes.objoid
                            and notes.classoid = 'pg_catalog.pg_class'::regclass
                    left join pg_catalog.pg_attribute as columns
                        on notes.objoid = columns.attrelid and notes.objsubid = columns.attnum
                        and notes.objsubid > 0
                    where classes.oid = relation
                    union all
                    select pg_get_indexdef(indexes.indexrelid)
                    from pg_catalog.pg_index as indexes
                    where indexes.indrelid = relation
                );
            perform set_config('search_path', old_path, true);
            alter table {{ old.include(database=false, identifier=false) }}."{{ new.identifier }}"
                rename to "{{ old.identifier }}";
            alter table
                {{ new.include(database=false, identifier=false) }}."{{ new.identifier }}__dbt_new"
                rename to "{{ new.identifier }}";

            for direct in
                select moved.*, classes.relkind as kind
                from pg_temp.moved_views as moved
                inner join pg_catalog.pg_class as classes on moved.relation = classes.oid
                where moved.direct = moved.relation
                order by moved.depth, moved.name
            loop
                -- Made anew already, with another one that it stands on.
                continue when not exists (
                    select
                    from pg_catalog.pg_depend as links
                    inner join pg_catalog.pg_rewrite as rules on links.objid = rules.oid
                    where rules.ev_class = direct.relation and links.refobjid = old_relation
                );
                begin
                    if direct.kind = 'v' then
                        execute 'create or replace view ' || direct.definition;
                        continue;
                    end if;
                exception when others then
                    null;
                end;
                create temporary table anew on commit drop as
                select moved.*, classes.relkind as kind
                from pg_temp.moved_views as moved
                inner join pg_catalog.pg_class as classes on moved.relation = classes.oid
                where moved.direct = direct.relation;
                begin
                    execute format(
                        'drop %s %s cascade',
                        case direct.kind when 'm' then 'materialized view' else 'view' end,
                        direct.name
                    );
                exception when insufficient_privilege then
                    lost := lost || array(select name from pg_temp.anew order by depth, name);
                    drop table pg_temp.anew;
                    continue;
                end;
                for dependent in select * from pg_temp.anew order by depth, name loop
                    begin
                        execute case dependent.kind when 'm' then 'create materialized view '
                            else 'create view ' end || dependent.definition;
                        foreach step in array dependent.steps loop
                            execute step;
                        end loop;
                    exception when others then
                        lost := lost || dependent.name;
                    end;
                end loop;
                drop table pg_temp.anew;
            end loop;
            drop table pg_temp.moved_views;
            perform set_config('labmart.lost_views', array_to_string(lost, ', '), true);
        end
        $move$
    {%- endset -%}
    {% call statement('move_dependent_views') -%} {{ block }} {%- endcall %}
    {%- set lost = run_query(
        "select current_setting('labmart.lost_views', true) as lost"
    ).rows[0][0] -%}
    {% if lost %}
        {% do exceptions.warn(
            'Views were dropped that cannot be led to the new ' ~ new ~ ' (its columns have '
            ~ 'changed, or they belong to a role you are no member of): ' ~ lost
        ) %}
        {% for name in lost.split(', ') %}
            {% set schema, _, identifier = name.replace('"', '').partition('.') %}
            {% do adapter.cache_dropped(
                api.Relation.create(database=new.database, schema=schema, identifier=identifier)
            ) %}
        {% endfor %}
        {% call statement('forget_lost_views') -%}
            select set_config('labmart.lost_views', '', true)
        {%- endcall %}
    {% endif %}
{%- endmacro %}
