"""Which rows of a table a program asks for: `total_exp_per_user=gte.3`, sorted by `-name`.

The service and assistants (mcp_server) understand the same. Everything is checked before anything
is asked of the database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import NamedTuple

from loader.contract import Contract
from loader.engines import Column, Filter, Selection, named
from loader.engines.sql import IN, IS_NULL, NOT_NULL, OPERATORS, PATTERNS, quote
from loader.errors import BadParameter, UnknownColumn, did_you_mean

FILTER_SYNTAX = (
    "column=operator.value, such as user_id=gte.5. The operators are eq, neq, gt, gte, lt, "
    "lte, in.(a,b), like and ilike (with * for any text), is.null, not.null. In a list, text "
    'with a comma stands in quotes: in.("a, b",c).'
)
_MOST_FILTERS = 50
_MOST_IN_LIST = 1000
_LONGEST_SHOWN = 60
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)', re.DOTALL)


@dataclass(frozen=True)
class Source:
    """A table that can be asked for.

    A table that is `swapped` is made anew by each build; another one may not be there yet, and is
    empty. `fixed` are filters that the path sets; `equalities` names columns whose parameter is
    also understood without an operator.
    """

    schema: str
    contract: Contract
    swapped: bool = True
    fixed: tuple[Filter, ...] = ()
    equalities: tuple[str, ...] = ()
    default_order: str = ""

    @property
    def qualified_name(self) -> str:
        return f"{quote(self.schema)}.{quote(self.contract.name)}"

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(Column(column.name, column.type) for column in self.contract.columns)

    def named(self, parameter: str, names: Sequence[str]) -> tuple[Column, ...]:
        """The columns of these names, each of which stands there once. Raises BadParameter."""
        chosen: list[Column] = []
        for name in names:
            column = named(self.columns, name.strip())
            if column is None:
                known = [column.name for column in self.columns]
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
    found = [_filter(source, *pair, parameters) for pair in filters]
    if search is not None:
        texts = [column for column in source.columns if column.type == "text"]
        if not texts:
            raise BadParameter("search", f"{source.contract.name} has no column of texts.")
        found.append(Filter(texts[0], "ilike", (f"*{search}*",), tuple(texts[1:])))
    if len(found) > _MOST_FILTERS:
        raise BadParameter(found[0].column.name, f"more than {_MOST_FILTERS} filters are given.")
    order_by, descending = _order(source, order or source.default_order)
    return Selection(
        relation=source.contract.name,
        columns=source.columns if select is None else source.named("select", select.split(",")),
        order_by=order_by,
        filters=(*source.fixed, *found),
        limit=limit or None,
        descending=descending,
    )


def _order(source: Source, text: str) -> tuple[tuple[Column, ...], frozenset[str]]:
    """The order asked for, made total: by the key, or by all columns where there is none."""
    names = [name.strip() for name in text.split(",")] if text else []
    asked = source.named("order", [name.removeprefix("-") for name in names])
    contract = source.contract
    own = source.named("order", [name for name in contract.order_by if contract.column(name)])
    rest = () if contract.has_key else source.columns
    total = tuple(dict.fromkeys((*asked, *own, *rest)))
    return total, frozenset(name[1:] for name in names if name.startswith("-"))


def _filter(source: Source, name: str, value: str, parameters: Sequence[str]) -> Filter:
    column = named(source.columns, name)
    if column is None:
        known = [*parameters, *(column.name for column in source.columns)]
        raise BadParameter(
            name[:60],
            f"{source.contract.name} has no such column, and there is no such parameter."
            + (did_you_mean(name, known) or f" There are: {', '.join(known)}."),
        )
    word, dot, rest = value.partition(".")
    if word not in OPERATORS or not dot:
        if name in source.equalities:
            return Filter(column, "eq", (value_of(column, value, name),))
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
    """What is listed in `(a,b)`; an item with a comma stands in quotes: `("a, b",c)`."""
    if not (text.startswith("(") and text.endswith(")")) or len(text) < 2:
        raise BadParameter(name, 'a list is written (a,b), with "…" around an item with a comma.')
    inner, items, start = text[1:-1], [], 0
    while inner and start <= len(inner):
        item = _ITEM.match(inner, start)
        end = item.end() if item else start
        if item is None or (end < len(inner) and inner[end] != ","):
            raise BadParameter(
                name, 'the quotation marks of the list do not match: write ("a","b").'
            )
        quoted = item[1]
        items.append(item[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
        start = end + 1
    if len(items) > _MOST_IN_LIST:
        raise BadParameter(name, f"the list has more than {_MOST_IN_LIST:,} items.")
    return items


class _Kind(NamedTuple):
    """How a value of a type is written, and a check that gives it as SQL reads it: a pattern is
    not enough for a day, or for how large a number can be."""

    noun: str
    pattern: str
    read: Callable[[str], str] = str


def _whole_number(bits: int) -> _Kind:
    def read(text: str) -> str:
        if not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
            raise ValueError(text)
        return text

    return _Kind("whole number such as 12", "-?[0-9]{1,19}", read)


def _moment(text: str) -> str:
    # A plus sign that a client did not escape has become a space.
    moment = datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


_KINDS = {
    "bigint": _whole_number(64),
    "integer": _whole_number(32),
    "numeric": _Kind("number such as 12.5", r"(?=.{1,200}$)-?[0-9]+(\.[0-9]+)?"),
    "boolean": _Kind("truth value, true or false", "true|false"),
    "date": _Kind(
        "date such as 2023-01-31",
        "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        lambda text: date.fromisoformat(text).isoformat(),
    ),
    "timestamp with time zone": _Kind("time such as 2023-01-31T12:00:00Z", ".*", _moment),
    "text": _Kind("text without NUL", "[^\0]*"),
}


def value_of(column: Column, text: str, parameter: str) -> str:
    """The text of a value of the column. Raises BadParameter, which names the parameter."""
    kind = _KINDS.get(column.type.split("(", 1)[0], _KINDS["text"])
    with suppress(ValueError):
        if re.fullmatch(kind.pattern, text, re.ASCII | re.DOTALL):
            return kind.read(text)
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    raise BadParameter(
        parameter, f"{shown!r} is no {kind.noun}, which the column {column.name} holds."
    )
