"""What was rejected or noticed: the mart input_issues, and a summary per rule.

Also the one line about the inputs that ends `labmart run`.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import replace

from loader.destinations import Destination
from loader.marts import Mart, select
from loader.show import ShowOptions, show

ISSUES = "input_issues"
RECONCILIATION = "input_reconciliation"
_COUNTS = ("records_read", "accepted_rows", "rejected_lines", "rejected_rows", "superseded_rows")


def show_issues(
    mart: Mart, source: Destination, options: ShowOptions, *, rule: str | None, severity: str | None
) -> None:
    """Print the issues; stderr gets how many there are of each rule."""
    wanted = (("rule", rule), ("severity", severity))
    equal = tuple((name, value) for name, value in wanted if value is not None)
    show(mart, source, replace(options, equal=equal))
    selection = select(mart, source, columns=("severity", "rule"), equal=equal)
    counted = Counter(source.rows(replace(selection, order_by=())))
    for (level, name), count in sorted(counted.items(), key=lambda item: (-item[1], str(item[0]))):
        print(f"{count:>10,}  {level!s:<8} {name}", file=sys.stderr)
    if not counted:
        print("Nothing was rejected or noticed.", file=sys.stderr)


def reconciliation(mart: Mart, source: Destination) -> str:
    """One line: records read, and what became of them."""
    sums = dict.fromkeys(_COUNTS, 0)
    for row in source.rows(select(mart, source, columns=_COUNTS)):
        for name, value in zip(_COUNTS, row, strict=True):
            sums[name] += value if isinstance(value, int) else 0
    rejected = sums["rejected_lines"] + sums["rejected_rows"]
    line = (
        f"{sums['records_read']:,} records read: {sums['accepted_rows']:,} accepted, "
        f"{rejected:,} rejected, {sums['superseded_rows']:,} superseded"
    )
    return f"{line}; see `labmart issues`" if rejected else line
