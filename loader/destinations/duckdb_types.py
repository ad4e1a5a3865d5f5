"""DuckDB's types in PostgreSQL's words."""

from __future__ import annotations

import re

_WORDS = {
    "VARCHAR": "text",
    "TINYINT": "smallint",
    "SMALLINT": "smallint",
    "INTEGER": "integer",
    "BIGINT": "bigint",
    "HUGEINT": "numeric(38,0)",
    "FLOAT": "real",
    "DOUBLE": "double precision",
    "TIMESTAMP": "timestamp without time zone",
}


def standard_type(type_: str) -> str:
    """The type's name as PostgreSQL has it; one that it has not, in small letters."""
    if decimal := re.fullmatch(r"DECIMAL\((\d+),\s*(\d+)\)", type_):
        return f"numeric({decimal[1]},{decimal[2]})"
    return _WORDS.get(type_, type_.lower())
