"""The marts of the service that the page's tests talk to: rows in memory, asked as the API is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = str | int | float | bool | None
Row = dict[str, Cell]


@dataclass(frozen=True)
class Mart:
    """A mart: its columns with their types, and its rows."""

    name: str
    columns: Mapping[str, str]
    rows: Sequence[Row]


def described(mart: Mart) -> dict[str, object]:
    """A mart as the list of marts has it."""
    return {
        "name": mart.name,
        "description": f"One row per thing in {mart.name}.",
        "grain_columns": [next(iter(mart.columns))],
        "columns": [
            {"name": name, "type": type_, "description": f"What {name} means."}
            for name, type_ in mart.columns.items()
        ],
        "rows_url": f"/v1/marts/{mart.name}",
    }


def fits(row: Row, mart: Mart, parameters: dict[str, str]) -> bool:
    """Whether a row fits all filters among the parameters."""
    for name in mart.columns.keys() & parameters.keys():
        operator, _, value = parameters[name].partition(".")
        held = row[name]
        if operator == "ilike":
            pattern = ".*".join(re.escape(part) for part in value.split("*"))
            if not re.fullmatch(pattern, str(held), re.IGNORECASE | re.DOTALL):
                return False
        elif operator == "eq":
            if str(held) != value:
                return False
        elif held is None or not _compared(float(held), operator, float(value)):
            return False
    return True


def _compared(held: float, operator: str, value: float) -> bool:
    return {"gt": held > value, "gte": held >= value, "lt": held < value, "lte": held <= value}[
        operator
    ]


def in_order(rows: list[Row], name: str, *, falling: bool) -> list[Row]:
    """The rows by one column; rows without a value come last when it falls."""

    def place(row: Row) -> tuple[bool, float, str]:
        held = row[name]
        number = float(held) if isinstance(held, int | float) else 0.0
        return held is not None, number, str(held)

    return sorted(rows, key=place, reverse=falling)


def page_of(rows: Sequence[Row], parameters: dict[str, str]) -> dict[str, object]:
    """One page of rows; a cursor is the number of the rows before it."""
    first = int(parameters.get("after") or 0)
    last = first + int(parameters.get("limit") or 100)
    return {"items": rows[first:last], "next": str(last) if last < len(rows) else None}
