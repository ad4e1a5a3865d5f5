"""Where a figure of a mart comes from: the accepted rows behind it, with file and line.

The YAML of the marts declares it of a column:

    config: {meta: {made_of: {mart: experiments, by: user_id}}}

are the rows of the mart `experiments` whose user_id is the key that was asked for; without `by` all
of its rows. A mart of accepted rows, which have a load and a line, is made of itself.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

from loader.contract import MadeOf, mart_contract, mart_contracts
from loader.engines import IN, Column, Engine, Filter, Row, Selection
from loader.errors import UnknownColumn, UsageError
from loader.project import Project
from loader.show import TABLE_ROWS, accounts, print_rows, select
from loader.table import display

_ORIGIN = ("load_id", "line")
# As many as a program gets: their experiments are asked for by their ids.
_MOST_ROWS = 10_000


class Answer(NamedTuple):
    """Where a figure comes from: a sentence with the figure, and the rows behind it."""

    sentence: str
    columns: list[Column]
    rows: list[Row]
    footer: str


def show_why(
    project: Project, source: Engine, name: str, key: str, column_name: str, format_: str
) -> None:
    """Print the rows behind a figure; stderr gets the figure and what it means. Raises as `why`."""
    limit = TABLE_ROWS if format_ == "table" else _MOST_ROWS
    answer = why(project, source, name, key, column_name, limit)
    print(answer.sentence, file=sys.stderr)
    print_rows(answer.columns, answer.rows, format_, answer.footer)


def why(
    project: Project, source: Engine, name: str, key: str, column_name: str, limit: int
) -> Answer:
    """The rows behind a figure, at most so many.

    Raises UnknownMart, UnknownColumn, UsageError for a key that is not there or a mart that is made
    in another way, NotBuilt, and the engine's errors.
    """
    marts = mart_contracts(project)
    mart = mart_contract(project, name)
    column = mart.column(column_name)
    if column is None:
        raise UnknownColumn(name, column_name, [column.name for column in mart.columns])
    made_of = column.made_of
    if made_of is None and mart.column("line") and len(mart.order_by) == 1:
        made_of = MadeOf(name, mart.order_by[0])
    if made_of is None:
        told = [mart.name for mart in marts.values() if any(c.made_of for c in mart.columns)]
        raise UsageError(
            f"What {column_name} of {name} is made of is not declared. It is for the columns of "
            f"{', '.join(told)}, and for accepted rows, such as those of users."
        )
    (key_name,) = mart.order_by
    declared = mart.column(key_name)
    is_key = declared is None or declared.kind != "bigint" or re.fullmatch("[0-9]{1,18}", key)
    figure = select(mart, source, columns=[column_name], equal=[(key_name, key)])
    row = next(iter(source.rows(figure)), None) if is_key else None
    if row is None:
        raise UsageError(
            f"{name} has no row with {key_name} {key}. `labmart issues` tells what was rejected."
        )
    equal = [(made_of.by, key)] if made_of.by else []
    behind = select(marts[made_of.mart], source, equal=equal, limit=limit)
    rows = list(source.rows(behind))
    total = source.count(behind)
    part = f"the first {len(rows):,} of {total:,}" if total > len(rows) else f"{total:,}"
    sentence = (
        f"{column_name} of {key_name} {key} is {display(row[0])}, made of {part} "
        f"row{'' if total == 1 else 's'} of {made_of.mart}. {column.description}"
    )
    places = _places(project, source, behind, rows)
    shown = [i for i, column in enumerate(behind.columns) if column.name not in _ORIGIN]
    return Answer(
        sentence,
        [*(behind.columns[i] for i in shown), Column("file", "text"), Column("line", "bigint")],
        [(*(row[i] for i in shown), *place) for row, place in zip(rows, places, strict=True)],
        f"{made_of.mart}: {part}",
    )


def _places(
    project: Project, source: Engine, behind: Selection, rows: Sequence[Row]
) -> Iterator[Row]:
    """File and line of each row; a row of the seeds has none."""
    names = [column.name for column in behind.columns]
    origins = [tuple(row[names.index(n)] for n in _ORIGIN if n in names) for row in rows]
    if "load_id" not in names and rows:
        # An item of a list stands where its experiment does.
        ids = [row[names.index("experiment_id")] for row in rows]
        contract = mart_contract(project, "experiments")
        experiments = select(contract, source, columns=("experiment_id", *_ORIGIN))
        by_id = Filter(experiments.columns[0], IN, tuple(sorted({str(id_) for id_ in ids})))
        known = {id_: at for id_, *at in source.rows(replace(experiments, filters=(by_id,)))}
        origins = [tuple(known[id_]) for id_ in ids]
    files = {load_id: file for load_id, (file, _) in accounts(project, source).items()}
    for load_id, line in origins:
        yield (files.get(load_id) if isinstance(load_id, int) else None, line)
