-- The PostgreSQL image runs this once, when it creates its data directory: labmart's database and
-- its owner, who is not a superuser. `labmart roles` creates the other roles.
\set password `cat /run/secrets/database_password`
create role labmart login createrole password :'password';
create database labmart owner labmart;
