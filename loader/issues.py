"""What was rejected or noticed: the mart input_issues, and a summary per rule.

Also the one line about the inputs that ends `labmart run`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from loader.destinations import Destination, Value
from loader.marts import Mart, select
from loader.show import ShowOptions, show

ISSUES = "input_issues"
RECONCILIATION = "input_reconciliation"
# What fits a terminal; the other formats have all columns.
_IN_A_TABLE = ("file", "line", "rule", "column_name", "value")
_COUNTS = ("records_read", "accepted_rows", "rejected_lines", "rejected_rows", "superseded_rows")


def show_issues(
    mart: Mart, source: Destination, options: ShowOptions, *, rule: str | None, severity: str | None
) -> None:
    """Print the issues; stderr gets how many there are of each rule."""
    wanted = (("rule", rule), ("severity", severity))
    equal = tuple((name, value) for name, value in wanted if value is not None)
    present = {column.name for column in source.columns(mart.name)}
    narrow = tuple(name for name in _IN_A_TABLE if name in present)
    columns = narrow if options.format == "table" else ()
    show(mart, source, replace(options, equal=equal, columns=columns))
    selection = select(mart, source, columns=("severity", "rule"), equal=equal)
    counted = Counter(source.rows(replace(selection, order_by=())))
    for (level, name), count in sorted(counted.items(), key=lambda item: (-item[1], str(item[0]))):
        print(f"{count:>10,}  {level!s:<8} {name}", file=sys.stderr)
    if not counted:
        print("Nothing was rejected or noticed.", file=sys.stderr)


def fates(mart: Mart, source: Destination, load_ids: Sequence[int]) -> Iterator[str]:
    """For each of these loads one line: its file, records read, and what became of them."""
    columns = ("load_id", "file", *_COUNTS)
    for load_id, file, *counts in source.rows(select(mart, source, columns=columns)):
        if load_id in load_ids:
            yield f"{file}: {_sentence(dict(zip(_COUNTS, counts, strict=True)))}"


def reconciliation(mart: Mart, source: Destination) -> str:
    """One line: records read, and what became of them."""
    sums = dict.fromkeys(_COUNTS, 0)
    for row in source.rows(select(mart, source, columns=_COUNTS)):
        for name, value in zip(_COUNTS, row, strict=True):
            sums[name] += _int(value)
    line = _sentence(sums)
    rejected = sums["rejected_lines"] + sums["rejected_rows"]
    return f"{line}; see `labmart issues`" if rejected else line


def _sentence(counts: Mapping[str, Value]) -> str:
    read, accepted, lines, rows, superseded = (_int(counts[name]) for name in _COUNTS)
    return (
        f"{read:,} records read: {accepted:,} accepted, {lines + rows:,} rejected, "
        f"{superseded:,} superseded"
    )


def _int(value: Value) -> int:
    return value if isinstance(value, int) else 0
