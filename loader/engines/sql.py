"""How SQL is written: names and texts as the standard has them, and the query of a Selection."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from loader.engines import Column, Selection


def quote(name: str) -> str:
    """A name as an identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def source_of(
    selection: Selection,
    schema: Sequence[str],
    *,
    quote: Callable[[str], str] = quote,
    literal: Callable[[str], str] = literal,
) -> str:
    """The relation, called `m`, with the condition of its rows; `schema` is its path."""
    source = f"{'.'.join(map(quote, (*schema, selection.relation)))} as m"
    if not selection.equal:
        return source
    conditions = " and ".join(
        f"m.{quote(name)} = {literal(value)}" for name, value in selection.equal
    )
    return f"{source} where {conditions}"


def query_of(
    selection: Selection, listed: str, source: str, order_key: Callable[[Column], str]
) -> str:
    """What is listed of the source, in order, as many rows as asked for."""
    sql = f"select {listed} from {source}"
    if selection.order_by:
        sql += f" order by {', '.join(map(order_key, selection.order_by))}"
    return sql if selection.limit is None else f"{sql} limit {selection.limit:d}"
