"""labmart for Python programs: `labmart.mart("user_features")`. The command is `loader.cli`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb


def mart(
    name: str = "user_features",
    *,
    columns: Sequence[str] = (),
    target: str | None = None,
    project: str | Path | None = None,
) -> duckdb.DuckDBPyRelation:
    """A published mart as a relation in memory, which gives Arrow to whatever takes it.

    `polars.DataFrame(relation)` and `pyarrow.table(relation)` take it by Arrow's C stream, and
    `relation.df()` is a pandas.DataFrame. Rows are in the mart's order, numeric columns decimals.
    No `columns` means all; `target` and `project` are as the options of the command.

    Raises subclasses of loader.errors.LabmartError: UnknownMart, UnknownColumn, NotBuilt, or
    DatabaseUnreachable.
    """
    from loader.contract import mart_contract
    from loader.database import find_database
    from loader.export import relation
    from loader.project import open_project
    from loader.query import select

    database = find_database(open_project(Path(project) if project else None), target)
    contract = mart_contract(database.project, name)
    with database.open() as source:
        return relation(source, select(contract, source, columns=columns))
