"""What the command prints: marts, data quality issues, the rows behind a figure, and tables.

Rows go to stdout: as a table for people, as csv or json for programs; the row count goes to stderr.
Table libraries cut every column alike; here numbers stay whole, paths keep their end, and columns
that do not fit are left out and named.

The YAML of the marts declares for a column what its figures are made of:

    config: {meta: {made_of: {mart: experiments, by: user_id}}}

means the rows of the mart `experiments` whose user_id is the requested key; without `by`, all its
rows. A mart of accepted rows, which have a load and a line, is made of itself.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import sys
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal
from itertools import accumulate
from typing import IO, NamedTuple

from loader.contract import Column, MadeOf, mart_contract, mart_contracts
from loader.database import Database
from loader.engines import IN, Engine, Filter, Row, Selection, Value
from loader.errors import UnknownColumn, UsageError, no_such
from loader.parsers.records import csv_cell
from loader.printable import plural, printable
from loader.project import Project
from loader.query import select

ISSUES = "input_issues"
COUNTS = "issue_counts"
RECONCILIATION = "input_reconciliation"
# A table is for reading; more rows than this belong in a file or a pipe.
_TABLE_ROWS = 100
# The most rows behind a figure that a program gets; their experiments are looked up by id.
_MOST_ROWS = 10_000
# The issues' columns that fit a terminal; the other formats have all.
_ISSUES_IN_A_TABLE = ("file", "line", "rule", "column_name", "value")
# From this many unreadable cells on, the option that would read them is reported.
_MANY = 20
# Where a row came from.
ORIGIN = ("load_id", "line")


def show(
    database: Database,
    mart: str,
    format_: str = "table",
    *,
    limit: int | None = None,
    columns: Sequence[str] = (),
    equal: Sequence[tuple[str, str]] = (),
) -> None:
    """Print a mart; `limit` None means the format's default, 0 means all rows.

    Raises UnknownMart, NotBuilt, UnknownColumn, and the engine's errors.
    """
    contract = mart_contract(database.project, mart)
    most = _TABLE_ROWS if limit is None and format_ == "table" else limit
    with database.open() as source:
        selection = select(contract, source, columns=columns, equal=equal, limit=most or None)
        if format_ == "csv":
            source.write_csv(selection, sys.stdout.buffer)
            sys.stdout.buffer.flush()
            return
        rows: Iterable[Row] = source.rows(selection)
        footer = ""
        if format_ == "table":
            rows = list(rows)
            total = source.count(selection) if len(rows) == most else len(rows)
            footer = f"{mart}: {_rows_of(len(rows), total)}"
            if len(rows) < total:
                footer += " (--limit 0 shows all, --format csv is for programs)"
        print_rows(selection.columns, rows, format_, footer, choose="choose with --columns")


def _rows_of(shown: int, total: int) -> str:
    some = f"the first {shown:,} of " if shown < total else ""
    return f"{some}{plural(total, 'row')}"


def print_rows(
    columns: Sequence[Column],
    rows: Iterable[Row],
    format_: str,
    footer: str,
    *,
    choose: str = "--format csv has all",
) -> None:
    """Print rows; for a table, stderr gets the footer and the columns that did not fit.

    `choose` says how else to see a column that was left out.
    """
    out = sys.stdout.buffer
    if format_ == "csv":
        for cells in ([column.name for column in columns], *rows):
            out.write(f"{','.join(csv_cell(_csv(cell)) for cell in cells)}\n".encode())
    elif format_ == "json":
        write_json(columns, rows, out)
    else:
        # Without a terminal, and without COLUMNS, a table may have any width.
        is_bound = os.environ.get("COLUMNS", "").isdigit() or sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if is_bound else None
        table = layout(columns, list(rows), width)
        out.write("".join(f"{line}\n" for line in table.lines).encode())
        out.flush()
        print(footer, file=sys.stderr)
        if table.left_out:
            print(
                f"{len(table.left_out)} columns did not fit: {', '.join(table.left_out)} "
                f"({choose}, or use a wider terminal)",
                file=sys.stderr,
            )
    out.flush()


def _csv(value: Value) -> str | None:
    """As the engines write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return None if value is None else str(value)


# `json.dumps` with an argument would create an encoder for each value.
_encode = json.JSONEncoder(ensure_ascii=False).encode


def write_json(columns: Iterable[Column], rows: Iterable[Row], out: IO[bytes]) -> None:
    """Stream an array of objects, one per line. Numbers keep all of the engine's digits."""
    names = [_encode(column.name) for column in columns]
    before = "["
    for row in rows:
        pairs = (f"{name}: {_json(value)}" for name, value in zip(names, row, strict=True))
        out.write(f"{before}\n  {{{', '.join(pairs)}}}".encode())
        before = ","
    out.write(b"[]\n" if before == "[" else b"\n]\n")


def write_items(
    columns: Iterable[Column],
    rows: Iterable[Row],
    out: IO[bytes],
    more: Callable[[], Mapping[str, object]],
) -> None:
    """Stream the same as `items` of an object, whose other members are known only afterwards."""
    out.write(b'{"items": ')
    write_json(columns, rows, out)
    out.write(f", {_encode(more())[1:]}\n".encode())


def _json(value: Value) -> str:
    if isinstance(value, Decimal):
        # A float would keep 0.1 but not 123456789012.123456. NaN is not valid JSON.
        return f"{value:f}" if value.is_finite() else f'"{value}"'
    return f'"{value.isoformat()}"' if isinstance(value, date) else _encode(value)


# The data quality issues, and what became of the records.


def rule_sentences(project: Project, rule: str | None = None) -> dict[str, str]:
    """What each rule means. Raises UsageError for an unknown rule."""
    with (project.seeds / "issue_rules.csv").open(encoding="utf-8", newline="") as file:
        sentences = {row["rule"]: row["sentence"] for row in csv.DictReader(file)}
    if rule is not None and rule not in sentences:
        raise UsageError(no_such("rule", rule, list(sentences)))
    return sentences


def show_issues(
    database: Database,
    format_: str,
    *,
    limit: int | None,
    columns: Sequence[str],
    rule: str | None,
    severity: str | None,
    resolved: bool,
) -> None:
    """Print the open issues, or all; stderr gets each rule's number of issues and its meaning.

    Raises UsageError for an unknown rule, NotBuilt, and the engine's errors.
    """
    sentences = rule_sentences(database.project, rule)
    asked = {"rule": rule, "severity": severity, "status": None if resolved else "open"}
    equal = [(name, value) for name, value in asked.items() if value is not None]
    if not columns and format_ == "table":
        columns = _ISSUES_IN_A_TABLE
    show(database, ISSUES, format_, limit=limit, columns=columns, equal=equal)
    with database.open() as source:
        issues = select(
            mart_contract(database.project, ISSUES),
            source,
            columns=("severity", "rule"),
            equal=equal,
        )
        counts = Counter(source.rows(replace(issues, order_by=())))
    for (level, name), count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0]))):
        # The further sentences, and the column `message`, say what can be done.
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
            plural(count, word)
            for count, word in ((self.rejected_lines, "line"), (self.rejected_rows, "row"))
            if count
        ]
        apart = f" ({', '.join(parts)})" if parts else ""
        return (
            f"{self.read:,} records read: {self.accepted:,} accepted, "
            f"{self.rejected:,} rejected{apart}, {self.superseded:,} superseded"
        )


def accounts(project: Project, source: Engine) -> dict[int, tuple[str, Account]]:
    """The file and the account of each load, from the last build; seeds are load 0.

    Seeds are added up. Raises NotBuilt.
    """
    by_load: dict[int, tuple[str, Account]] = {}
    for load_id, file, *cells in mart_rows(
        *(project, source, RECONCILIATION, "load_id", "file", "records_read"),
        *("accepted_rows", "rejected_lines", "rejected_rows", "superseded_rows"),
    ):
        _, account = by_load.get(_int(load_id), ("", Account()))
        by_load[_int(load_id)] = (str(file), account + Account(*map(_int, cells)))
    return by_load


def closing_lines(database: Database, load_ids: Sequence[int] = ()) -> Iterator[str]:
    """A summary of a build: records of the given loads and of all, open issues, remedies.

    Raises NotBuilt.
    """
    counts: dict[str, Counter[str]] = {"error": Counter(), "warning": Counter()}
    remedies = []
    with database.open() as source:
        by_load = accounts(database.project, source)
        for file, account in (by_load[load_id] for load_id in load_ids if load_id in by_load):
            yield f"{file}: {account}"
        yield str(sum((account for _, account in by_load.values()), Account()))
        for name, rule, severity, issues, column, cells, of, remedy in mart_rows(
            *(database.project, source, COUNTS, "file", "rule", "severity", "open_issues"),
            *("column_name", "unreadable_cells", "filled_cells", "remedy"),
        ):
            counts[str(severity)][str(rule)] += _int(issues)
            unreadable, filled = _int(cells), _int(of)
            # A cell or two can be found among the issues.
            if remedy and (unreadable >= _MANY or 2 * unreadable >= filled):
                remedies.append(f"{name}: {unread(unreadable, filled, column, remedy)}")
    noticed = []
    for severity, by_rule in counts.items():
        listed = sorted((+by_rule).items(), key=lambda item: (-item[1], item[0]))
        if listed:
            noticed.append(f"{severity}s: {', '.join(f'{n:,} {rule}' for rule, n in listed)}")
    if noticed:
        noticed[-1] += "; see `labmart issues`"
    yield from (*noticed, *remedies)


def unread(cells: int, of: int, column: Value, remedy: Value) -> str:
    """A sentence on a column's unreadable cells and the option that would read them."""
    return f"{cells:,} of {of:,} {column} cannot be read; {remedy}"


def mart_rows(project: Project, source: Engine, name: str, *columns: str) -> Iterator[Row]:
    """These columns of all rows of a mart. Raises NotBuilt."""
    return source.rows(select(mart_contract(project, name), source, columns=columns))


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0


# Where a mart's figure comes from.


class Answer(NamedTuple):
    """Where a figure comes from: a sentence with the figure, and the rows behind it."""

    sentence: str
    columns: list[Column]
    rows: list[Row]
    footer: str


def show_why(database: Database, mart: str, key: str, column: str, format_: str) -> None:
    """Print the rows behind a figure; stderr gets the figure and its meaning. Raises as `why`."""
    limit = _TABLE_ROWS if format_ == "table" else _MOST_ROWS
    answer = why(database, mart, key, column, limit)
    print(answer.sentence, file=sys.stderr)
    print_rows(answer.columns, answer.rows, format_, answer.footer)


def why(database: Database, mart: str, key: str, column: str, limit: int) -> Answer:
    """The rows behind a figure, up to `limit`.

    Raises UnknownMart, UnknownColumn, UsageError for a missing key or a mart made in another way,
    NotBuilt, and the engine's errors.
    """
    marts = mart_contracts(database.project)
    contract = mart_contract(database.project, mart)
    figure = contract.column(column)
    if figure is None:
        raise UnknownColumn(mart, column, [declared.name for declared in contract.columns])
    made_of = figure.config.meta.made_of
    if made_of is None and contract.column("line") and len(contract.order_by) == 1:
        made_of = MadeOf(mart, contract.order_by[0])
    if made_of is None:
        declaring = [
            other.name
            for other in marts.values()
            if any(figure.config.meta.made_of for figure in other.columns)
        ]
        raise UsageError(
            f"What {column} of {mart} is made of is not declared. It is for the columns of "
            f"{', '.join(declaring)}, and for accepted rows, such as those of users."
        )
    (key_name,) = contract.order_by
    declared = contract.column(key_name)
    missing = UsageError(
        f"{mart} has no row with {key_name} {key}. `labmart issues` tells what was rejected."
    )
    if declared and declared.type == "bigint" and not re.fullmatch("[0-9]{1,18}", key):
        raise missing
    with database.open() as source:
        of_key = select(contract, source, columns=[column], equal=[(key_name, key)])
        row = next(iter(source.rows(of_key)), None)
        if row is None:
            raise missing
        equal = [(made_of.by, key)] if made_of.by else []
        behind = select(marts[made_of.mart], source, equal=equal, limit=limit)
        rows = list(source.rows(behind))
        part = _rows_of(len(rows), source.count(behind))
        places = _places(database.project, source, behind, rows)
    shown = [i for i, made in enumerate(behind.columns) if made.name not in ORIGIN]
    return Answer(
        f"{column} of {key_name} {key} is {display(row[0])}, made of {part} of {made_of.mart}. "
        f"{figure.description}",
        [*(behind.columns[i] for i in shown), Column("file", "text"), Column("line", "bigint")],
        [(*(row[i] for i in shown), *place) for row, place in zip(rows, places, strict=True)],
        f"{made_of.mart}: {part}",
    )


def _places(project: Project, source: Engine, behind: Selection, rows: Sequence[Row]) -> list[Row]:
    """File and line of each row; a row of the seeds has none."""
    names = [column.name for column in behind.columns]
    origins = [tuple(row[names.index(n)] for n in ORIGIN if n in names) for row in rows]
    if "load_id" not in names and rows:
        # An item of a list is on the line of its experiment.
        ids = [row[names.index("experiment_id")] for row in rows]
        contract = mart_contract(project, "experiments")
        experiments = select(contract, source, columns=("experiment_id", *ORIGIN))
        by_id = Filter(experiments.columns[0], IN, tuple(sorted({str(id_) for id_ in ids})))
        selection = replace(experiments, filters=(by_id,))
        origin_of = {id_: origin for id_, *origin in source.rows(selection)}
        origins = [tuple(origin_of[id_]) for id_ in ids]
    files = {load_id: file for load_id, (file, _) in accounts(project, source).items()}
    return [
        (files.get(load_id) if isinstance(load_id, int) else None, line)
        for load_id, line in origins
    ]


# Rows as a table for people.

_NULL = "\N{EN DASH}"
_GAP = "  "
_NARROWEST_TEXT = 8
_WIDEST_TEXT = 60
_HEADER = 11
_NUMERIC = ("bigint", "integer", "smallint", "numeric", "real", "double precision")


class Layout(NamedTuple):
    """The lines of a table, and the names of the columns that did not fit."""

    lines: list[str]
    left_out: list[str]


class _Column:
    """A column being laid out: the lines of its header, its cells, and its width."""

    def __init__(self, column: Column, cells: Sequence[str]) -> None:
        self.cells = cells
        self.is_number = column.type.split("(", 1)[0] in _NUMERIC
        # The end of a path says most.
        self.keeps_end = column.name == "file"
        # A long name breaks after underscores: `total_exp_per_user` takes two lines of ten.
        self.header: list[str] = []
        for word in column.name.replace("_", "_\0").split("\0"):
            if self.header and len(self.header[-1]) + len(word) <= _HEADER:
                self.header[-1] += word
            else:
                self.header.append(word)
        header = max(map(text_width, self.header))
        self.width = self.wanted = max([header, *map(text_width, cells)])
        # A cut number or date would be a different one.
        if not self.is_number and not column.type.startswith(("date", "timestamp")):
            self.wanted = min(self.wanted, max(_WIDEST_TEXT, header))
            self.width = min(self.wanted, max(_NARROWEST_TEXT, header))

    def padded(self, text: str) -> str:
        """The text cut to the width; numbers are right-aligned."""
        if text_width(text) > self.width:
            text = _cut(text[::-1], self.width)[::-1] if self.keeps_end else _cut(text, self.width)
        space = " " * (self.width - text_width(text))
        return space + text if self.is_number else text + space


def layout(columns: Sequence[Column], rows: Sequence[Row], width: int | None) -> Layout:
    """Lay rows out within `width` columns of text; None means any width.

    Long text is cut first. What still does not fit is left out, from the right.
    """
    shown = [_Column(c, [display(row[i]) for row in rows]) for i, c in enumerate(columns)]
    spare = len(_GAP) + (sys.maxsize if width is None else width)
    ends = accumulate(len(_GAP) + column.width for column in shown)
    shown = shown[: max(1, sum(end <= spare for end in ends))]
    spare -= sum(len(_GAP) + column.width for column in shown)
    # Spare width goes to the cut columns one by one, the narrowest first.
    while spare > 0 and (cut := [column for column in shown if column.width < column.wanted]):
        min(cut, key=lambda column: column.width).width += 1
        spare -= 1
    height = max((len(column.header) for column in shown), default=0)
    headers = [[""] * (height - len(column.header)) + column.header for column in shown]
    lines = [
        *zip(*headers, strict=True),
        tuple("-" * column.width for column in shown),
        *zip(*(column.cells for column in shown), strict=True),
    ]
    return Layout(
        [_GAP.join(map(_Column.padded, shown, line)).rstrip() for line in lines],
        [column.name for column in columns[len(shown) :]],
    )


def display(value: Value) -> str:
    """A value for display: two decimals, times in this machine's time zone, NULL as a dash."""
    if value is None:
        return _NULL
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        if isinstance(exponent, int) and exponent < 0:
            value = value.quantize(Decimal("0.01"), rounding=ROUND_HALF_UP)
        return f"{value:f}"
    if isinstance(value, datetime):
        return f"{value.astimezone():%Y-%m-%d %H:%M}"
    return printable(str(value))


def text_width(text: str) -> int:
    """How many terminal cells the text takes."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) == "Cf":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _cut(text: str, size: int) -> str:
    ends = accumulate(map(_char_width, text))
    return text[: sum(end < size for end in ends)] + "…"
