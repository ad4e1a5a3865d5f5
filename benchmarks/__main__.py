"""`python -m benchmarks COMMAND …`: the benchmarks, and the generator of their data."""

from __future__ import annotations

import sys
from importlib import import_module

# A command is a module here, with a function `main` that takes the arguments.
COMMANDS = {
    "generate": "write a laboratory's three files",
    "load": "`labmart load` into PostgreSQL, against \\copy",
    "load_duckdb": "the same into DuckDB, against its own read_csv",
    "transform": "all marts, against SQL written by hand",
    "engines": "the way from the files to all marts, one engine beside another",
    "serve": "uploads and answers of the service",
}


def main(arguments: list[str]) -> int:
    """Run a command; the exit code."""
    if not arguments or arguments[0] not in COMMANDS:
        listed = "\n".join(f"  {name:<12} {what}" for name, what in COMMANDS.items())
        print(f"usage: python -m benchmarks COMMAND --help\n\n{listed}", file=sys.stderr)
        return 2
    code: int = import_module(f"benchmarks.{arguments[0]}").main(arguments[1:])
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
