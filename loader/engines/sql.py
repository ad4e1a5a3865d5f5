"""How SQL is written: names and texts as the standard has them, and the query of a Selection.

NULL is less than every value: it comes first, and last in the descending order. A comparison with a
value never holds for NULL; `is` and `not` ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from loader.engines import Column, Filter, Selection

COMPARISONS = {"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<="}
PATTERNS = ("like", "ilike")
IN, IS_NULL, NOT_NULL = "in", "is", "not"
OPERATORS = (*COMPARISONS, IN, *PATTERNS, IS_NULL, NOT_NULL)


def quote(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def plain_key(column: Column) -> str:
    """What an order compares, where texts are compared by their code points anyway."""
    return f"m.{quote(column.name)}"


def source_of(
    selection: Selection,
    relation: str,
    *,
    key: Callable[[Column], str] = plain_key,
    literal: Callable[[str], str] = literal,
) -> str:
    """The relation, called `m`, with the condition of its rows."""
    conditions = [_condition(filter_, key, literal) for filter_ in selection.filters]
    return f"{relation} as m where {' and '.join(conditions) or 'true'}"


def query_of(
    selection: Selection,
    listed: str,
    source: str,
    *,
    key: Callable[[Column], str] = plain_key,
    literal: Callable[[str], str] = literal,
) -> str:
    """What is listed of the source, in order, as many rows as asked for."""
    order = [(key(column), column.name in selection.descending) for column in selection.order_by]
    sql, offset = f"select {listed} from {source}", ""
    if selection.after is not None:
        level, beyond = _around(order, selection.after.values, literal)
        if selection.after.seen:
            # Rows that agree in everything are given by number; if some of them are gone, the
            # number must not skip others.
            count = f"select count(*) from {source} and {level}"
            offset = f" offset least({selection.after.seen:d}, ({count}))"
            beyond = f"({level} or {beyond})"
        sql += f" and {beyond}"
    if order:
        ways = {False: "nulls first", True: "desc nulls last"}
        sql += f" order by {', '.join(f'{term} {ways[down]}' for term, down in order)}"
    if selection.limit is not None:
        sql += f" limit {selection.limit:d}"
    return sql + offset


def _condition(filter_: Filter, key: Callable[[Column], str], literal: Callable[[str], str]) -> str:
    if filter_.others:
        columns = (filter_.column, *filter_.others)
        either = (replace(filter_, column=column, others=()) for column in columns)
        return f"({' or '.join(_condition(one, key, literal) for one in either)})"
    own, values = key(filter_.column), [literal(value) for value in filter_.values]
    match filter_.operator:
        case "is":
            return f"{own} is null"
        case "not":
            return f"{own} is not null"
        case "in":
            return f"{own} in ({', '.join(values)})" if values else "false"
        case "like" | "ilike":
            # By the database's own collation, which knows capital letters beyond ASCII.
            own = plain_key(filter_.column)
            pattern = literal(_pattern(filter_.values[0]))
            # DuckDB has no escape character of its own accord.
            return f"{own} {filter_.operator} {pattern} escape {literal(chr(92))}"
    return f"{own} {COMPARISONS[filter_.operator]} {values[0]}"


def _pattern(text: str) -> str:
    r"""`*` is any text; `%`, `_` and `\` are themselves."""
    for sign in "\\%_":
        text = text.replace(sign, f"\\{sign}")
    return text.replace("*", "%")


def _around(
    order: Sequence[tuple[str, bool]],
    values: Sequence[str | None],
    literal: Callable[[str], str],
) -> tuple[str, str]:
    """The conditions of rows at these values, and of those behind: behind in the first, or level
    with it and behind in the rest."""
    levels, beyond = [], "false"
    for (term, descending), value in reversed(list(zip(order, values, strict=True))):
        level = f"{term} is null" if value is None else f"{term} = {literal(value)}"
        behind = [f"{level} and {beyond}"]
        if value is not None:
            behind.append(f"{term} {'<' if descending else '>'} {literal(value)}")
        if (value is None) != descending:
            behind.append(f"{term} is {'null' if descending else 'not null'}")
        beyond = f"({' or '.join(behind)})"
        levels.append(level)
    return " and ".join(levels), beyond
