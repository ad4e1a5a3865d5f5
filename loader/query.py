"""Which rows of a table are requested: by the command, or by a program as text.

The service and assistants (mcp_server) use the same syntax: `total_exp_per_user=gte.3`, sorted by
`-name`. Everything is checked before the database is queried.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import date, datetime

from loader.contract import Column, Contract, DeclaredColumn
from loader.engines import IN, IS_NULL, NOT_NULL, OPERATORS, PATTERNS, Engine, Filter, Selection
from loader.errors import BadParameter, UnknownColumn, did_you_mean

FILTER_SYNTAX = (
    "column=operator.value, such as user_id=gte.5. The operators are eq, neq, gt, gte, lt, "
    "lte, in.(a,b), like and ilike (with * for any text), is.null, not.null. In a list, text "
    'with a comma stands in quotes: in.("a, b",c).'
)
_MOST_FILTERS = 50
_MOST_IN_LIST = 1000
# How many characters of a wrong value an error repeats.
_SHOWN = 60


def select(
    contract: Contract,
    source: Engine,
    *,
    columns: Sequence[str] = (),
    equal: Sequence[tuple[str, str]] = (),
    limit: int | None = None,
) -> Selection:
    """Columns and rows of a mart as it is in the database; no columns means all.

    Raises NotBuilt or UnknownColumn.
    """
    present = [DeclaredColumn(column.name, column.type) for column in source.columns(contract.name)]
    built = replace(contract, columns=tuple(present))
    filters = [Filter(_column(built, name), "eq", (value,)) for name, value in equal]
    return _selection(built, [_column(built, name) for name in columns], filters, limit=limit)


def selection_of(
    contract: Contract,
    filters: Sequence[tuple[str, str]],
    *,
    select: str | None = None,
    order: str | None = None,
    search: str | None = None,
    limit: int | None = None,
    parameters: Sequence[str] = (),
) -> Selection:
    """The rows of a table that a program requests. Raises BadParameter.

    `filters` are pairs of a column and `operator.value`; `select` and `order` are comma-separated
    names, in `order` with `-` for descending. `search` has to occur in one of the text columns. A
    limit of None or 0 means all. `parameters` are the names other than columns that could have been
    meant, for the error.
    """
    conditions = [_filter(contract, *pair, parameters) for pair in filters]
    if search is not None:
        texts = [column for column in contract.columns if column.type == "text"]
        if not texts:
            raise BadParameter("search", f"{contract.name} has no column of texts.")
        conditions.append(Filter(texts[0], "ilike", (f"*{search}*",), tuple(texts[1:])))
    if len(conditions) > _MOST_FILTERS:
        parameter = conditions[0].column.name
        raise BadParameter(parameter, f"more than {_MOST_FILTERS} filters are given.")
    chosen = [] if select is None else _columns(contract, "select", select.split(","))
    names = [name.strip() for name in (order or "").split(",") if name]
    asked = _columns(contract, "order", [name.removeprefix("-") for name in names])
    descending = [name[1:] for name in names if name.startswith("-")]
    return _selection(contract, chosen, conditions, asked, descending, limit=limit)


def _selection(
    contract: Contract,
    columns: Sequence[Column],
    filters: Sequence[Filter],
    order: Sequence[Column] = (),
    descending: Sequence[str] = (),
    *,
    limit: int | None,
) -> Selection:
    """A selection in a repeatable order: no columns means all, no limit or 0 means all rows."""
    # A total order: by the key, or by all columns if there is none.
    own = [column for name in contract.order_by if (column := contract.column(name))]
    is_total = contract.has_key and len(own) == len(contract.order_by)
    rest = () if is_total else contract.columns
    return Selection(
        relation=contract.name,
        columns=tuple(columns) or contract.columns,
        order_by=tuple(dict.fromkeys((*order, *own, *rest))),
        filters=tuple(filters),
        limit=limit or None,
        descending=frozenset(descending),
    )


def _column(contract: Contract, name: str) -> Column:
    column = contract.column(name)
    if column is None:
        known = [column.name for column in contract.columns]
        raise UnknownColumn(contract.name, name, known)
    return column


def _columns(contract: Contract, parameter: str, names: Sequence[str]) -> list[Column]:
    """The columns of these names, none of which may repeat."""
    columns: list[Column] = []
    for name in map(str.strip, names):
        try:
            column = _column(contract, name)
        except UnknownColumn as error:
            raise BadParameter(parameter, str(error)) from None
        if column in columns:
            raise BadParameter(parameter, f"the column {name} is named more than once.")
        columns.append(column)
    return columns


def _filter(contract: Contract, name: str, value: str, parameters: Sequence[str]) -> Filter:
    column = contract.column(name)
    if column is None:
        known = [*parameters, *(column.name for column in contract.columns)]
        raise BadParameter(
            name[:_SHOWN],
            f"{contract.name} has no such column, and there is no such parameter."
            + (did_you_mean(name, known) or f" There are: {', '.join(known)}."),
        )
    word, dot, rest = value.partition(".")
    if word not in OPERATORS or not dot:
        problem = (
            f"write an operator and a point before the value, such as {name}=eq.…; the operators "
            f"are {', '.join(OPERATORS)}."
        )
    elif word in (IS_NULL, NOT_NULL) and rest != "null":
        problem = f"after `{word}.` only null can stand."
    elif word in PATTERNS and column.type != "text":
        problem = f"{word} is for texts, and this is {column.type}."
    elif word in (IS_NULL, NOT_NULL):
        return Filter(column, word)
    else:
        texts = _items(rest, name) if word == IN else [rest]
        return Filter(column, word, tuple(_value(column, text, name) for text in texts))
    raise BadParameter(name, problem)


def _items(text: str, name: str) -> list[str]:
    """The items of `(a,b)`, split like a line of CSV."""
    problem = 'a list is written (a,b); an item with a comma stands in quotation marks: ("a, b",c).'
    if text.startswith("(") and text.endswith(")"):
        with suppress(csv.Error):
            items = next(csv.reader([text[1:-1]], strict=True), [])
            if len(items) <= _MOST_IN_LIST:
                return items
            problem = f"the list has more than {_MOST_IN_LIST:,} items."
    raise BadParameter(name, problem)


def _moment(text: str) -> datetime:
    # A plus sign that a client did not escape has become a space.
    return datetime.fromisoformat(re.sub(r" (\d\d(:?\d\d)?)$", r"+\1", text))


# How a value of each type is written: in words, as a pattern, and its parser, since a pattern
# cannot validate a date.
_KINDS: dict[str, tuple[str, str, Callable[[str], object]]] = {
    # 19 and 10 digits fit, but not every number of that length.
    "bigint": ("whole number such as 12", "-?[0-9]{1,18}", int),
    "integer": ("whole number such as 12", "-?[0-9]{1,9}", int),
    "numeric": ("number such as 12.5", r"(?=.{1,200}$)-?[0-9]+(\.[0-9]+)?", str),
    "boolean": ("truth value, true or false", "true|false", str),
    "date": ("date such as 2023-01-31", "[0-9]{4}-[0-9]{2}-[0-9]{2}", date.fromisoformat),
    "timestamp with time zone": ("time such as 2023-01-31T12:00:00Z", ".*", _moment),
    "text": ("text without NUL", "[^\0]*", str),
}


def _value(column: Column, text: str, parameter: str) -> str:
    """The text of a value of the column. Raises BadParameter, which names the parameter."""
    noun, pattern, read = _KINDS.get(column.type.split("(", 1)[0], _KINDS["text"])
    with suppress(ValueError):
        if re.fullmatch(pattern, text, re.ASCII | re.DOTALL):
            return str(read(text))
    problem = f"{text[:_SHOWN]!r} is no {noun}, which the column {column.name} holds."
    raise BadParameter(parameter, problem)
