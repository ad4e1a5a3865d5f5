"""The Python side of labmart: the command `labmart`, the loader, the service, and dbt run for both.

The way of a file, `labmart load plate.xlsx`:

    cli/          parses the call and hands it on; the options of a load, which an upload has
                  too, stand in options
    project, database
                  which dbt project, which target of profiles.yml, and its database made ready:
                  embedded/ starts the PostgreSQL that comes in a wheel
    load          one call from start to end; everything below is called from here
      files/      what the PATHs mean: folders, archives, addresses, as local files
      sources     the inputs and the names of their columns, as dbt's source YAML declares them
      parsers/    what a file is (recognise), which input its header means (headers), its dialect,
                  and its records: a quoted cell is split in parsers/splitter
      ledger      which arrivals are loaded already, and which loads are current
      engines/    the raw tables of PostgreSQL, DuckDB or the lake, all of a call or nothing:
                  a thread makes their text ahead; `load` commits when all are in
    check         `load --check`: a load in which the models are worked out, all of it rolled back
    history       the loads so far: undo, redo, prune

From there to what people read, `labmart run`:

    build         one build from start to end: reads the seeds, says what failed, publishes
      dbt         runs dbt in dbt_process, which may be ready before; says what marts are made by,
                  so that a build that would do the same is left out
    publications/ puts a green build in place of the one before: all of it in one step, and back
    spark_server  what the lake is computed in, where no server is named
    contract      the marts as dbt's YAML declares them: columns, types, order, meaning
    diff          what is published, and what a build has changed
    query         which rows are asked for, by the command or a program: filters, order, search
    show, export  a mart, or the rows behind a figure, on the screen or in a file; export also gives
                  Arrow to `import labmart`
    mcp_server    the same for assistants
    progress      what a person sees on stderr meanwhile

An upload takes the same way, from another process (service/ says more):

    service/app       lets it in when service/access knows the caller
    service/uploads   writes it to the disk while it arrives, and only then answers
    service/jobs      keeps it as a row; a job whose worker died is claimed and done again
    service/worker    calls `load` and `build` as the command does
    service/marts     gives the published marts out, read by the engine that show reads by
    watch             the same for what lands in a folder or an object store

errors has what can go wrong, with the exit codes; locks waits for others; printable makes any text
safe for a terminal; roles says who may do what in the database.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit(
        "labmart runs on Linux and macOS. On Windows call it in WSL, the Linux that comes with "
        "Windows: `wsl --install` sets it up."
    )

__version__ = "0.1.0"
