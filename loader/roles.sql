-- The roles of a laboratory and their rights, for the names that roles.py fills in: those that end
-- in _text are literals, the others identifiers. It can be run again.

-- A load that is at work is waited for, but not for as long as it may take.
set local lock_timeout = '30s';
-- Nobody loads, and nobody else makes the roles, in the meantime.
select pg_advisory_xact_lock(hashtextextended('labmart roles', 0));
select pg_advisory_xact_lock(hashtextextended('labmart raw tables ' || {raw_text}, 0));

do $labmart$
declare
    role text;
    item record;
begin
    foreach role in array array[{loader_text}, {builder_text}, {reader_text}] loop
        if not exists (select from pg_roles where rolname = role) then
            execute format('create role %I nologin', role);
        end if;
        -- Who made a role may give it away, but is no member by that: it could not become it.
        if not (select rolsuper from pg_roles where rolname = {user_text}) then
            execute format('grant %I to %I', role, {user_text});
        end if;
    end loop;
    for item in
        select s.name, s.owner, pg_get_userbyid(n.nspowner) as present
        from (values {owners}) as s (name, owner)
        left join pg_namespace as n on s.name = n.nspname
    loop
        -- `if not exists` would ask for a right also where there is nothing to create.
        if item.present is null then
            execute format('create schema %I', item.name);
        end if;
        if item.present is distinct from item.owner then
            execute format('alter schema %I owner to %I', item.name, item.owner);
        end if;
    end loop;
end
$labmart$;

{raw_tables};

do $labmart$
declare
    item record;
begin
    for item in
        select c.oid::regclass::text as name, s.owner
        from (values {owners}) as s (name, owner)
        inner join pg_namespace as n on s.name = n.nspname
        inner join pg_class as c on n.oid = c.relnamespace
        where c.relkind in ('r', 'p', 'v', 'm', 'f') and pg_get_userbyid(c.relowner) <> s.owner
    loop
        execute format('alter table %s owner to %I', item.name, item.owner);
    end loop;
end
$labmart$;

-- The tables that are there, and those that the owners will make.
grant connect on database {database} to {loader}, {builder}, {reader};
-- Each build has schemas of its own until it is published, and is renamed then.
grant create on database {database} to {builder};
grant usage on schema {raw} to {builder}, {reader};
grant select on all tables in schema {raw} to {builder};
alter default privileges for role {loader}, {user} in schema {raw}
    grant select on tables to {builder};
grant select on {raw}.{ledger}, {raw}.{rejected} to {reader};
grant usage on schema {schema} to {reader};
grant select on all tables in schema {schema} to {reader};
alter default privileges for role {builder}, {user} in schema {schema}
    grant select on tables to {reader};
