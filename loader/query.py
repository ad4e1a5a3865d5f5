"""Which rows of a table a program asks for: `total_exp_per_user=gte.3`, sorted by `-name`.

The service and assistants (mcp_server) understand the same. Everything is checked before anything
is asked of the database.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime

from loader.contract import Contract
from loader.engines import (
    IN,
    IS_NULL,
    NOT_NULL,
    OPERATORS,
    PATTERNS,
    Column,
    Filter,
    Selection,
    quote,
)
from loader.errors import BadParameter, UnknownColumn, did_you_mean

FILTER_SYNTAX = (
    "column=operator.value, such as user_id=gte.5. The operators are eq, neq, gt, gte, lt, "
    "lte, in.(a,b), like and ilike (with * for any text), is.null, not.null. In a list, text "
    'with a comma stands in quotes: in.("a, b",c).'
)
_MOST_FILTERS = 50
_MOST_IN_LIST = 1000
_LONGEST_SHOWN = 60


@dataclass(frozen=True)
class Source:
    """A table that can be asked for.

    A table that is `swapped` is made anew by each build; another one may not be there yet, and is
    empty.
    """

    schema: str
    contract: Contract
    swapped: bool = True
    default_order: str = ""

    @property
    def qualified_name(self) -> str:
        return f"{quote(self.schema)}.{quote(self.contract.name)}"

    def named(self, parameter: str, names: Sequence[str]) -> tuple[Column, ...]:
        """The columns of these names, each of which stands there once. Raises BadParameter."""
        chosen: list[Column] = []
        for name in names:
            column = self.contract.column(name.strip())
            if column is None:
                known = [column.name for column in self.contract.columns]
                unknown = UnknownColumn(self.contract.name, name.strip(), known)
                raise BadParameter(parameter, str(unknown))
            if column in chosen:
                raise BadParameter(parameter, f"the column {column.name} is named more than once.")
            chosen.append(column)
        return tuple(chosen)


def selection_of(
    source: Source,
    filters: Sequence[tuple[str, str]],
    *,
    select: str | None = None,
    order: str | None = None,
    search: str | None = None,
    limit: int | None = None,
    parameters: Sequence[str] = (),
) -> Selection:
    """The rows that are asked for, in a total order. Raises BadParameter.

    `filters` are pairs of a column and `operator.value`; `select` and `order` are names with commas
    between, in `order` with `-` before what goes from the greatest down. `search` is in one of the
    texts. A limit of None or 0 means all. `parameters` are what else than columns could have been
    meant, for the error.
    """
    contract = source.contract
    found = [_filter(source, *pair, parameters) for pair in filters]
    if search is not None:
        texts = [column for column in contract.columns if column.type == "text"]
        if not texts:
            raise BadParameter("search", f"{contract.name} has no column of texts.")
        found.append(Filter(texts[0], "ilike", (f"*{search}*",), tuple(texts[1:])))
    if len(found) > _MOST_FILTERS:
        raise BadParameter(found[0].column.name, f"more than {_MOST_FILTERS} filters are given.")
    names = [name.strip() for name in (order or source.default_order).split(",") if name]
    asked = source.named("order", [name.removeprefix("-") for name in names])
    # Made total: by the key, or by all columns where there is none.
    own = source.named("order", [name for name in contract.order_by if contract.column(name)])
    rest = () if contract.has_key else contract.columns
    return Selection(
        relation=contract.name,
        columns=contract.columns if select is None else source.named("select", select.split(",")),
        order_by=tuple(dict.fromkeys((*asked, *own, *rest))),
        filters=tuple(found),
        limit=limit or None,
        descending=frozenset(name[1:] for name in names if name.startswith("-")),
    )


def _filter(source: Source, name: str, value: str, parameters: Sequence[str]) -> Filter:
    column = source.contract.column(name)
    if column is None:
        known = [*parameters, *(column.name for column in source.contract.columns)]
        raise BadParameter(
            name[:60],
            f"{source.contract.name} has no such column, and there is no such parameter."
            + (did_you_mean(name, known) or f" There are: {', '.join(known)}."),
        )
    word, dot, rest = value.partition(".")
    if word not in OPERATORS or not dot:
        raise BadParameter(
            name,
            f"write an operator and a point before the value, such as {name}=eq.…; the operators "
            f"are {', '.join(OPERATORS)}.",
        )
    if word in (IS_NULL, NOT_NULL):
        if rest != "null":
            raise BadParameter(name, f"after `{word}.` only null can stand.")
        return Filter(column, word)
    if word in PATTERNS and column.type != "text":
        raise BadParameter(name, f"{word} is for texts, and this is {column.type}.")
    texts = _items(rest, name) if word == IN else [rest]
    return Filter(column, word, tuple(value_of(column, text, name) for text in texts))


def _items(text: str, name: str) -> list[str]:
    """What is listed in `(a,b)`, as a line of CSV is."""
    items: list[str] | None = None
    if text.startswith("(") and text.endswith(")"):
        with suppress(csv.Error):
            items = next(csv.reader([text[1:-1]], strict=True), [])
    if items is None:
        raise BadParameter(
            name,
            'a list is written (a,b); an item with a comma stands in quotation marks: ("a, b",c).',
        )
    if len(items) > _MOST_IN_LIST:
        raise BadParameter(name, f"the list has more than {_MOST_IN_LIST:,} items.")
    return items


def _moment(text: str) -> datetime:
    # A plus sign that a client did not escape has become a space.
    return datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))


# How a value of each type is written: in words, as a pattern, and what reads it, since a pattern is
# not enough for a day.
_KINDS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    # They take 19 and 10 digits, but not all numbers of so many.
    "bigint": ("whole number such as 12", "-?[0-9]{1,18}", int),
    "integer": ("whole number such as 12", "-?[0-9]{1,9}", int),
    "numeric": ("number such as 12.5", r"(?=.{1,200}$)-?[0-9]+(\.[0-9]+)?", str),
    "boolean": ("truth value, true or false", "true|false", str),
    "date": ("date such as 2023-01-31", "[0-9]{4}-[0-9]{2}-[0-9]{2}", date.fromisoformat),
    "timestamp with time zone": ("time such as 2023-01-31T12:00:00Z", ".*", _moment),
    "text": ("text without NUL", "[^\0]*", str),
}


def value_of(column: Column, text: str, parameter: str) -> str:
    """The text of a value of the column. Raises BadParameter, which names the parameter."""
    noun, pattern, read = _KINDS.get(column.type.split("(", 1)[0], _KINDS["text"])
    with suppress(ValueError):
        if re.fullmatch(pattern, text, re.ASCII | re.DOTALL):
            return str(read(text))
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    raise BadParameter(parameter, f"{shown!r} is no {noun}, which the column {column.name} holds.")
