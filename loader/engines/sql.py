"""How SQL is written: names and texts as the standard has them, and the operators of a Filter."""

from __future__ import annotations

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
