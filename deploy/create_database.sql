-- Run once, by the image of PostgreSQL when it makes its data directory: the database of labmart
-- and its owner, who is no superuser. `labmart roles` makes the other roles.
\set password `cat /run/secrets/database_password`
create role labmart login createrole password :'password';
create database labmart owner labmart;
