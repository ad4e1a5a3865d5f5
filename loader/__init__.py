"""The Python side of labmart: the `labmart` command, the loader, the service, and how both run dbt.

The path of a file, `labmart load plate.xlsx`:

    cli/          parses the command line; `options` declares the options that loads and uploads
                  share
    project, database
                  find the dbt project and the target in profiles.yml, and prepare its database;
                  embedded/ starts the PostgreSQL that ships in a wheel
    load          one call from start to end; calls everything below
      files/      turns PATHs (folders, archives, addresses) into local files
      sources     the inputs and their column names, as dbt's source YAML declares them
      parsers/    what a file is (recognise), which input its header means (headers), its dialect
                  and its records; parsers/splitter splits quoted cells
      ledger      which files are already loaded, and which loads are current
      engines/    the raw tables of PostgreSQL, DuckDB or the lake, written all or nothing:
                  a thread prepares the text ahead; `load` commits when all of it is in
    check         `load --check`: loads, computes the models, and rolls everything back
    history       the loads so far: undo, redo, prune

From there to the published tables, `labmart run`:

    build         one build from start to end: reads the seeds, reports failures, publishes
      dbt         runs dbt in dbt_process, which can be started in advance; says what marts are made
                  from, so that a build that would change nothing is skipped
    publications/ replaces the previous build with a green one in one step, and can go back
    spark_server  the server that computes the lake when none is named
    contract      the marts as dbt's YAML declares them: columns, types, order, meaning
    diff          what is published, and what a build has changed
    query         which rows a command or program asks for: filters, order, search
    show, export  a mart, or the rows behind a figure, on screen or in a file; export also provides
                  Arrow to `import labmart`
    mcp_server    the same for assistants
    progress      what a person sees on stderr meanwhile

An upload follows the same path from another process (see service/):

    service/app       admits it if service/access knows the caller
    service/uploads   writes it to disk as it arrives, and only then answers
    service/jobs      stores it as a row; if a worker dies, its job is claimed and run again
    service/worker    calls `load` and `build` as the command does
    service/marts     serves the published marts through the same engine as show
    watch             the same for files that land in a folder or an object store

errors defines what can go wrong and the exit codes; locks waits for other processes; printable
makes any text safe for a terminal; roles defines who may do what in the database.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    sys.exit(
        "labmart runs on Linux and macOS. On Windows call it in WSL, the Linux that comes with "
        "Windows: `wsl --install` sets it up."
    )

__version__ = "0.1.0"
