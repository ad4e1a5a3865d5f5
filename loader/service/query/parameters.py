"""The query of a request, checked against the contract of its table.

    select=a,b              these columns, in this order
    col=op.value            rows for which it holds; several must all hold
    order=-a,b              by these columns, with `-` from the greatest down
    limit=50&after=…        a page, and the one after a cursor

NULL is less than every value: it comes first, and last in the descending order. A comparison with a
value never holds for NULL, as in SQL; `is.null` and `not.null` ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from loader.contract import Contract, ContractColumn
from loader.engines import Value
from loader.errors import BadParameter, UnknownColumn
from loader.service.query.values import parse

SELECT, ORDER, LIMIT, AFTER = "select", "order", "limit", "after"
FORMAT, FORMULAS = "format", "formulas"
PARAMETERS = (SELECT, ORDER, LIMIT, AFTER, FORMAT, FORMULAS)
COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
PATTERNS = ("like", "ilike")
IS_NULL, NOT_NULL, IN = "is", "not", "in"
OPERATORS = (*COMPARISONS, IN, *PATTERNS, IS_NULL, NOT_NULL)

MOST_FILTERS = 50
MOST_IN_LIST = 1000
_MOST_ROWS = 2**62
_ITEM = re.compile(r'"((?:[^"\\]|\\.)*)"|([^,"]*)', re.DOTALL)


@dataclass(frozen=True)
class Filter:
    """Rows for which `column operator values` holds; the values have the column's type."""

    column: ContractColumn
    operator: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Term:
    """One column of an order."""

    column: ContractColumn
    descending: bool


@dataclass(frozen=True)
class Query:
    """Which columns and rows of a table, in which total order; `limit` None means all rows."""

    contract: Contract
    columns: tuple[ContractColumn, ...]
    filters: tuple[Filter, ...]
    order: tuple[Term, ...]
    limit: int | None
    after: str | None


def parse_query(
    contract: Contract,
    given: Iterable[tuple[str, str]],
    *,
    default_limit: int | None,
    default_order: str = "",
    plain: Sequence[str] = (),
) -> Query:
    """Read the parameters of a request.

    `plain` names columns whose parameter is also understood without an operator, as equality.
    Raises BadParameter or UnknownColumn.
    """
    single: dict[str, str] = {}
    filters: list[Filter] = []
    for name, value in given:
        if name in PARAMETERS:
            if name in single:
                raise BadParameter(name, "it is given more than once.")
            single[name] = value
        else:
            filters.append(_filter(contract, name, value, plain))
    if len(filters) > MOST_FILTERS:
        raise BadParameter(filters[0].column.name, f"more than {MOST_FILTERS} filters are given.")
    return Query(
        contract=contract,
        columns=_columns(contract, single.get(SELECT)),
        filters=tuple(filters),
        order=_order(contract, single.get(ORDER, default_order)),
        limit=_limit(single.get(LIMIT), default_limit),
        after=single.get(AFTER),
    )


def _columns(contract: Contract, text: str | None) -> tuple[ContractColumn, ...]:
    if text is None:
        return contract.columns
    return tuple(_unique(contract, SELECT, text.split(","), lambda name: name))


def _order(contract: Contract, text: str) -> tuple[Term, ...]:
    """The order asked for, made total: by the key, or by all columns where there is none."""
    names = text.split(",") if text else []
    asked = _unique(contract, ORDER, names, lambda name: name.removeprefix("-"))
    terms = [
        Term(column, name.strip().startswith("-"))
        for column, name in zip(asked, names, strict=True)
    ]
    own = [found for name in contract.order_by if (found := contract.column(name))]
    for column in (*own, *(() if contract.has_key else contract.columns)):
        if all(term.column != column for term in terms):
            terms.append(Term(column, descending=False))
    return tuple(terms)


def _unique(
    contract: Contract, parameter: str, names: Sequence[str], bare: Callable[[str], str]
) -> list[ContractColumn]:
    found: list[ContractColumn] = []
    for name in names:
        column = _column(contract, bare(name.strip()), parameter)
        if column in found:
            raise BadParameter(parameter, f"the column {column.name} is named more than once.")
        found.append(column)
    return found


def _column(contract: Contract, name: str, parameter: str) -> ContractColumn:
    column = contract.column(name)
    if column is None:
        known = [one.name for one in contract.columns]
        raise BadParameter(parameter, str(UnknownColumn(contract.name, name, known)))
    return column


def _limit(text: str | None, default: int | None) -> int | None:
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,19}", text, re.ASCII) or int(text) > _MOST_ROWS:
        raise BadParameter(LIMIT, f"{text[:30]!r} is no number of rows; 0 means all of them.")
    return int(text) or None


def _filter(contract: Contract, name: str, value: str, plain: Sequence[str]) -> Filter:
    column = contract.column(name)
    if column is None:
        known = [*PARAMETERS, *(one.name for one in contract.columns)]
        near = get_close_matches(name, known, n=1)
        raise BadParameter(
            name[:60],
            f"{contract.name} has no such column, and there is no such parameter."
            + (f" Did you mean {near[0]!r}?" if near else f" There are: {', '.join(known)}."),
        )
    operator, dot, rest = value.partition(".")
    if operator not in OPERATORS or not dot:
        if name in plain:
            return Filter(column, "eq", (parse(column, value, name),))
        raise BadParameter(
            name,
            f"write an operator and a point before the value, such as {name}=eq.…; the operators "
            f"are {', '.join(OPERATORS)}.",
        )
    return Filter(column, operator, _values(column, operator, rest, name))


def _values(column: ContractColumn, operator: str, text: str, name: str) -> tuple[Value, ...]:
    if operator in (IS_NULL, NOT_NULL):
        if text != "null":
            raise BadParameter(name, f"after `{operator}.` only null can stand.")
        return ()
    if operator in PATTERNS:
        if column.kind != "text":
            raise BadParameter(name, f"{operator} is for texts, and this is {column.type}.")
        return (parse(column, text, name),)
    if operator == IN:
        return tuple(parse(column, item, name) for item in _items(text, name))
    return (parse(column, text, name),)


def _items(text: str, name: str) -> list[str]:
    """What is listed in `(a,b)`; an item with a comma stands in quotes: `("a, b",c)`."""
    if not (text.startswith("(") and text.endswith(")")) or len(text) < 2:
        raise BadParameter(name, 'a list is written (a,b), with "…" around an item with a comma.')
    inner, items, place = text[1:-1], [], 0
    while inner and place <= len(inner):
        found = _ITEM.match(inner, place)
        end = found.end() if found else place
        if found is None or (end < len(inner) and inner[end] != ","):
            raise BadParameter(
                name, 'the quotation marks of the list do not match: write ("a","b").'
            )
        quoted = found[1]
        items.append(found[2] if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.S))
        place = end + 1
    if len(items) > MOST_IN_LIST:
        raise BadParameter(name, f"the list has more than {MOST_IN_LIST:,} items.")
    return items
