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
_COUNTS = ("records_read", "accepted_rows", "rejected_lines", "rejected_rows", "superseded_rows")


@dataclass(frozen=True)
class ShowOptions:
    """How to print; `limit` None means the format's default, 0 means all rows."""

    format: str = "table"
    limit: int | None = None
    columns: tuple[str, ...] = ()
    equal: tuple[tuple[str, str], ...] = ()


def select(
    mart: Contract,
    source: Engine,
    *,
    columns: Sequence[str] = (),
    equal: tuple[tuple[str, str], ...] = (),
    limit: int | None = None,
) -> Selection:
    """Choose columns and rows of a mart as it stands in the database; no columns means all.

    Raises NotBuilt, or UnknownColumn.
    """
    present = source.columns(mart.name)
    names = [column.name for column in present]

    def known(name: str) -> Column:
        column = named(present, name)
        if column is None:
            raise UnknownColumn(mart.name, name, names)
        return column

    order = [column for key in mart.order_by if (column := named(present, key))]
    return Selection(
        relation=mart.name,
        columns=tuple(known(name) for name in columns or names),
        # Without a declared order all columns together are one: the same rows, the same output.
        order_by=tuple(order) or present,
        filters=tuple(Filter(known(name), "eq", (value,)) for name, value in equal),
        limit=limit,
    )


def show(mart: Contract, source: Engine, options: ShowOptions) -> None:
    """Print a mart. Raises NotBuilt, UnknownColumn, and the engine's errors."""
    limit = TABLE_ROWS if options.limit is None and options.format == "table" else options.limit
    selection = select(
        mart, source, columns=options.columns, equal=options.equal, limit=limit or None
    )
    out = sys.stdout.buffer
    if options.format == "csv":
        source.write_csv(selection, out)
    elif options.format == "json":
        write_json(selection.columns, source.rows(selection), out)
    else:
        rows = list(source.rows(selection))
        footer = _footer(selection, source, len(rows))
        print_table(selection.columns, rows, footer, choose="choose with --columns")
    out.flush()


def _footer(selection: Selection, source: Engine, shown: int) -> str:
    total = shown
    if selection.limit is not None and shown == selection.limit:
        total = source.count(selection)
    if total == shown:
        return f"{selection.relation}: {shown:,} row{'' if shown == 1 else 's'}"
    return (
        f"{selection.relation}: the first {shown:,} of {total:,} rows "
        "(--limit 0 shows all, --format csv is for programs)"
    )


# `json.dumps` with an argument would make an encoder for each value.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def write_json(columns: Iterable[Column], rows: Iterable[Row], out: IO[bytes]) -> None:
    """Stream an array of objects, one per line. Numbers keep all the digits the engine has."""
    names = [json.dumps(column.name, ensure_ascii=False) for column in columns]
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
    if isinstance(value, date):
        return f'"{value.isoformat()}"'
    return _encode(value)


def _csv(value: Value) -> str | None:
    """As the engines write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


def print_rows(columns: Sequence[Column], rows: Sequence[Row], format_: str, footer: str) -> None:
    """Print rows that are in memory, as a mart is printed."""
    out = sys.stdout.buffer
    if format_ == "csv":
        for cells in ([column.name for column in columns], *rows):
            text = (csv_cell(_csv(cell)) for cell in cells)
            out.write(f"{','.join(text)}\n".encode())
    elif format_ == "json":
        write_json(columns, rows, out)
    else:
        print_table(columns, rows, footer, choose="--format csv has all")
    out.flush()


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
    options: ShowOptions,
    *,
    rule: str | None,
    severity: str | None,
    resolved: bool = False,
) -> None:
    """Print the open issues, or all; stderr gets how many there are of each rule, and its sentence.

    Raises UsageError for a rule that there is not, NotBuilt, and the engine's errors.
    """
    mart = mart_contract(project, ISSUES)
    sentences = rule_sentences(project, rule)
    given = (("rule", rule), ("severity", severity), ("status", None if resolved else "open"))
    equal = tuple((name, value) for name, value in given if value is not None)
    present = {column.name for column in source.columns(mart.name)}
    narrow = tuple(name for name in _ISSUES_IN_A_TABLE if name in present)
    columns = options.columns or (narrow if options.format == "table" else ())
    show(mart, source, replace(options, equal=equal, columns=columns))
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
    found: dict[int, tuple[str, Account]] = {}
    mart = mart_contract(project, RECONCILIATION)
    for load_id, file, *counts in source.rows(
        select(mart, source, columns=("load_id", "file", *_COUNTS))
    ):
        key = _int(load_id)
        account = Account(*map(_int, counts))
        found[key] = (str(file), account + found[key][1] if key in found else account)
    return found


def closing_lines(project: Project, source: Engine, load_ids: Sequence[int] = ()) -> Iterator[str]:
    """What a build amounts to: records of the given loads and of all, open issues, what helps.

    Raises NotBuilt.
    """
    by_load = accounts(project, source)
    for load_id in load_ids:
        if load_id in by_load:
            file, account = by_load[load_id]
            yield f"{file}: {account}"
    yield str(sum((account for _, account in by_load.values()), Account()))
    columns = (
        *("file", "rule", "severity", "column_name", "open_issues"),
        *("unreadable_cells", "filled_cells", "remedy"),
    )
    rows = list(source.rows(select(mart_contract(project, COUNTS), source, columns=columns)))
    noticed = []
    for severity in ("error", "warning"):
        counts: Counter[str] = Counter()
        for _, rule, level, _, issues, *_ in rows:
            if level == severity and issues:
                counts[str(rule)] += _int(issues)
        listed = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        if listed:
            words = ", ".join(f"{count:,} {rule}" for rule, count in listed)
            noticed.append(f"{severity}s: {words}")
    if noticed:
        yield from noticed[:-1]
        yield f"{noticed[-1]}; see `labmart issues`"
    for name, _, _, column, _, cells, of, remedy in rows:
        unreadable, filled = _int(cells), _int(of)
        # A cell or two are for whoever looks at the issues.
        if remedy and (unreadable >= _MANY or 2 * unreadable >= filled):
            yield f"{name}: {unread(unreadable, filled, column, remedy)}"


def unread(cells: int, of: int, column: Value, remedy: Value) -> str:
    """A sentence on so many cells of a column, and the option that would read them."""
    return f"{cells:,} of {of:,} {column} cannot be read; {remedy}"


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0
