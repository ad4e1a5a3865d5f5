"""The Python side of labmart: the command `labmart`, and what it needs to run dbt.

cli/          parses a call and hands it on

project       where the dbt project is, and its files
profile       the connection that profiles.yml describes
database      the database of a target, made ready
embedded/     the PostgreSQL that comes in a wheel; db_status tells of it
destinations/ reading marts from an engine and writing its raw tables, one engine after the other

load          one call of `labmart load` from start to end; load_options, load_report
watch/        loading what lands in a folder, then building
sources       the inputs that the source YAML declares
files/        what a PATH means: files, folders, archives, addresses, as local files
parsers/      what a local file is, and records out of each kind of file
ledger        which loads count: undo, redo, prune; loads prints it

roles         who may do what in the database

dbt           dbt as a child process; progress shows how it goes on
dbt_report    what failed in a dbt run, in a person's words
seeds         whether the files in seeds/ are what dbt can read

marts         the marts that models/marts/_marts.yml declares
contract      what dbt's YAML declares of a table: columns, types, meaning
show, table   a mart on the screen; printable makes any text safe for it
export        a mart in a file; columnar writes Parquet
issues        what was rejected or noticed
service/      the same over HTTP: uploads, jobs, marts
errors/       what can go wrong, and the exit codes
"""

from __future__ import annotations

__version__ = "0.1.0"
