"""Marts on stdout: as a table for people, as csv or json for programs; stderr says how many rows.

Also the data quality issues of the mart input_issues, and the lines about the inputs that end a
build.
"""

from __future__ import annotations

import csv
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date
from decimal import Decimal
from typing import IO

from loader.contract import Contract, mart_contract
from loader.engines import Column, Engine, Filter, Row, Selection, Value, named
from loader.errors import UnknownColumn, UsageError, did_you_mean
from loader.parsers.records import csv_cell
from loader.project import Project
from loader.table import print_table

ISSUES = "input_issues"
COUNTS = "issue_counts"
RECONCILIATION = "input_reconciliation"
# A table is for reading; more rows than this are for a file or a pipe.
TABLE_ROWS = 100
# The issues' columns that fit a terminal; the other formats have all.
_ISSUES_IN_A_TABLE = ("file", "line", "rule", "column_name", "value")
# So many cells that cannot be read are told with what would read them.
_MANY = 20
Equal = Sequence[tuple[str, str]]


def select(
    mart: Contract,
    source: Engine,
    *,
    columns: Sequence[str] = (),
    equal: Equal = (),
    limit: int | None = None,
) -> Selection:
    """Choose columns and rows of a mart as it stands in the database; no columns means all.

    Raises NotBuilt, or UnknownColumn.
    """
    present = source.columns(mart.name)

    def known(name: str) -> Column:
        column = named(present, name)
        if column is None:
            raise UnknownColumn(mart.name, name, [column.name for column in present])
        return column

    order = [column for key in mart.order_by if (column := named(present, key))]
    return Selection(
        relation=mart.name,
        columns=tuple(map(known, columns)) or present,
        # Without a declared order all columns together are one: the same rows, the same output.
        order_by=tuple(order) or present,
        filters=tuple(Filter(known(name), "eq", (value,)) for name, value in equal),
        limit=limit,
    )


def show(
    mart: Contract,
    source: Engine,
    format_: str = "table",
    *,
    limit: int | None = None,
    columns: Sequence[str] = (),
    equal: Equal = (),
) -> None:
    """Print a mart; `limit` None means the format's default, 0 means all rows.

    Raises NotBuilt, UnknownColumn, and the engine's errors.
    """
    most = TABLE_ROWS if limit is None and format_ == "table" else limit
    selection = select(mart, source, columns=columns, equal=equal, limit=most or None)
    if format_ == "csv":
        source.write_csv(selection, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    elif format_ == "json":
        print_rows(selection.columns, source.rows(selection), format_, "")
    else:
        rows = list(source.rows(selection))
        shown = total = len(rows)
        if shown == most:
            total = source.count(selection)
        footer = f"{mart.name}: {shown:,} row{'' if shown == 1 else 's'}"
        if shown < total:
            footer = (
                f"{mart.name}: the first {shown:,} of {total:,} rows "
                "(--limit 0 shows all, --format csv is for programs)"
            )
        print_table(selection.columns, rows, footer, choose="choose with --columns")


def print_rows(columns: Sequence[Column], rows: Iterable[Row], format_: str, footer: str) -> None:
    """Print rows of any source as a mart is printed."""
    out = sys.stdout.buffer
    if format_ == "csv":
        for cells in ([column.name for column in columns], *rows):
            out.write(f"{','.join(csv_cell(_csv(cell)) for cell in cells)}\n".encode())
    elif format_ == "json":
        write_json(columns, rows, out)
    else:
        print_table(columns, list(rows), footer, choose="--format csv has all")
    out.flush()


def _csv(value: Value) -> str | None:
    """As the engines write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


# `json.dumps` with an argument would make an encoder for each value.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def write_json(columns: Iterable[Column], rows: Iterable[Row], out: IO[bytes]) -> None:
    """Stream an array of objects, one per line. Numbers keep all the digits the engine has."""
    names = [_encode(column.name) for column in columns]
    before = "["
    for row in rows:
        pairs = (f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True))
        out.write(f"{before}\n  {{{', '.join(pairs)}}}".encode())
        before = ","
    out.write(b"[]\n" if before == "[" else b"\n]\n")


def write_items(
    columns: Iterable[Column], rows: Iterable[Row], out: IO[bytes], **more: object
) -> None:
    """The same as `items` of one object, with what else there is to say."""
    out.write(b'{"items": ')
    write_json(columns, rows, out)
    out.write(f"{', ' if more else ''}{json.dumps(more, ensure_ascii=False)[1:]}\n".encode())


def _json(value: Value) -> str:
    if isinstance(value, Decimal):
        # Through a float 0.1 would do, 123456789012.123456 would not. NaN is no JSON number.
        return f"{value:f}" if value.is_finite() else f'"{value}"'
    return f'"{value.isoformat()}"' if isinstance(value, date) else _encode(value)


def rule_sentences(project: Project, rule: str | None = None) -> dict[str, str]:
    """What each rule means. Raises UsageError for a rule that there is not."""
    with (project.seeds / "issue_rules.csv").open(encoding="utf-8", newline="") as file:
        sentences = {row["rule"]: row["sentence"] for row in csv.DictReader(file)}
    if rule is not None and rule not in sentences:
        raise UsageError(
            f"There is no rule {rule!r}.{did_you_mean(rule, list(sentences))} "
            f"The rules are: {', '.join(sentences)}."
        )
    return sentences


def show_issues(
    project: Project,
    source: Engine,
    format_: str,
    *,
    limit: int | None,
    columns: Sequence[str],
    rule: str | None,
    severity: str | None,
    resolved: bool,
) -> None:
    """Print the open issues, or all; stderr gets how many there are of each rule, and its sentence.

    Raises UsageError for a rule that there is not, NotBuilt, and the engine's errors.
    """
    mart = mart_contract(project, ISSUES)
    sentences = rule_sentences(project, rule)
    given = {"rule": rule, "severity": severity, "status": None if resolved else "open"}
    equal = [(name, value) for name, value in given.items() if value is not None]
    if not columns and format_ == "table":
        present = source.columns(mart.name)
        columns = [name for name in _ISSUES_IN_A_TABLE if named(present, name)]
    show(mart, source, format_, limit=limit, columns=columns, equal=equal)
    selection = select(mart, source, columns=("severity", "rule"), equal=equal)
    counts = Counter(source.rows(replace(selection, order_by=())))
    for (level, name), count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))):
        # What can be done about it stands in further sentences, and in the column `message`.
        sentence = sentences.get(str(name), "").partition(". ")[0].rstrip(".")
        print(f"{count:>10,}  {level!s:<8} {name}: {sentence}.", file=sys.stderr)
    if not counts:
        print(f"There are no {'' if resolved else 'open '}data quality issues.", file=sys.stderr)


@dataclass(frozen=True)
class Account:
    """What became of the records of one file, or of several together."""

    read: int = 0
    accepted: int = 0
    rejected_lines: int = 0
    rejected_rows: int = 0
    superseded: int = 0

    def __add__(self, other: Account) -> Account:
        return Account(*map(sum, zip(astuple(self), astuple(other), strict=True)))

    @property
    def rejected(self) -> int:
        """Lines that could not be split and rows that a rule rejected."""
        return self.rejected_lines + self.rejected_rows

    def __str__(self) -> str:
        parts = [
            f"{count:,} {word}{'' if count == 1 else 's'}"
            for count, word in ((self.rejected_lines, "line"), (self.rejected_rows, "row"))
            if count
        ]
        apart = f" ({', '.join(parts)})" if parts else ""
        return (
            f"{self.read:,} records read: {self.accepted:,} accepted, "
            f"{self.rejected:,} rejected{apart}, {self.superseded:,} superseded"
        )


def accounts(project: Project, source: Engine) -> dict[int, tuple[str, Account]]:
    """The file and the account of each load, as the last build has them; a seed's load is 0.

    Seeds are added up. Raises NotBuilt.
    """
    counts = ("records_read", "accepted_rows", "rejected_lines", "rejected_rows", "superseded_rows")
    by_load: dict[int, tuple[str, Account]] = {}
    for load_id, file, *cells in _rows(project, source, RECONCILIATION, "load_id", "file", *counts):
        _, account = by_load.get(_int(load_id), ("", Account()))
        by_load[_int(load_id)] = (str(file), account + Account(*map(_int, cells)))
    return by_load


def closing_lines(project: Project, source: Engine, load_ids: Sequence[int] = ()) -> Iterator[str]:
    """What a build amounts to: records of the given loads and of all, open issues, what helps.

    Raises NotBuilt.
    """
    by_load = accounts(project, source)
    for file, account in (by_load[load_id] for load_id in load_ids if load_id in by_load):
        yield f"{file}: {account}"
    yield str(sum((account for _, account in by_load.values()), Account()))
    counts: dict[str, Counter[str]] = {"error": Counter(), "warning": Counter()}
    remedies = []
    for name, rule, severity, issues, column, cells, of, remedy in _rows(
        *(project, source, COUNTS, "file", "rule", "severity", "open_issues"),
        *("column_name", "unreadable_cells", "filled_cells", "remedy"),
    ):
        counts[str(severity)][str(rule)] += _int(issues)
        unreadable, filled = _int(cells), _int(of)
        # A cell or two are for whoever looks at the issues.
        if remedy and (unreadable >= _MANY or 2 * unreadable >= filled):
            remedies.append(f"{name}: {unread(unreadable, filled, column, remedy)}")
    noticed = []
    for severity, by_rule in counts.items():
        listed = sorted((+by_rule).items(), key=lambda item: (-item[1], item[0]))
        if listed:
            noticed.append(f"{severity}s: {', '.join(f'{n:,} {rule}' for rule, n in listed)}")
    if noticed:
        yield from noticed[:-1]
        yield f"{noticed[-1]}; see `labmart issues`"
    yield from remedies


def unread(cells: int, of: int, column: Value, remedy: Value) -> str:
    """A sentence on so many cells of a column, and the option that would read them."""
    return f"{cells:,} of {of:,} {column} cannot be read; {remedy}"


def _rows(project: Project, source: Engine, name: str, *columns: str) -> Iterator[Row]:
    return source.rows(select(mart_contract(project, name), source, columns=columns))


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0
