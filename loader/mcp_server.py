"""Assistants read the marts by MCP, over the queries that the command and the service have.

The server speaks by standard input and output with the program that started it. It loads, builds
and changes nothing: no tool takes SQL, and marts are read in read-only transactions. What goes
wrong is told in the sentence that labmart has for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from io import BytesIO
from typing import Annotated, Literal

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations
from pydantic import Field

from loader import __version__
from loader.contract import Column, mart_contracts
from loader.database import Database
from loader.diff import published
from loader.engines import Row
from loader.errors import BadParameter, LabmartError, UnknownMart
from loader.history import COLUMNS, load_rows
from loader.query import FILTER_SYNTAX, selection_of
from loader.show import ISSUES, rule_sentences, write_items
from loader.show import why as rows_behind

_INSTRUCTIONS = (
    "A laboratory's experiments, users and compounds as tested tables, called marts. `marts` says "
    "which there are and what their columns mean. Name the file and line that `why` and `issues` "
    "give when you tell somebody where a figure comes from or why a row was not accepted."
)
_Mart = Annotated[str, Field(description="Its name, as `marts` has it.")]
_Filters = Annotated[tuple[str, ...], Field(description=f"All of them hold. {FILTER_SYNTAX}")]
_Limit = Annotated[int, Field(ge=1, le=1000, description="At most this many rows.")]


def serve(database: Database) -> None:
    """Answer until standard input ends.

    The tools answer with JSON; an assistant knows of each what its docstring says.
    """
    server = MCPServer(
        "labmart", version=__version__, instructions=_INSTRUCTIONS, log_level="WARNING"
    )
    reading = ToolAnnotations(read_only_hint=True, open_world_hint=False)

    def tool(function: Callable[..., str]) -> Callable[..., str]:
        """Add a tool, whose errors the client is told; of others it learns nothing."""

        @wraps(function)
        def call(*arguments: object, **named: object) -> str:
            try:
                return function(*arguments, **named)
            except LabmartError as error:
                raise ToolError(str(error)) from None

        words = " ".join((function.__doc__ or "").split())
        server.add_tool(call, description=words, annotations=reading, structured_output=False)
        return function

    @tool
    def marts() -> str:
        """List the marts: what a row is, the key, and what each column means."""
        contracts = mart_contracts(database.project).values()
        return json.dumps([mart.described() for mart in contracts], ensure_ascii=False)

    @tool
    def query(
        mart: _Mart,
        filters: _Filters = (),
        columns: Annotated[tuple[str, ...], Field(description="Only these; default: all.")] = (),
        order: Annotated[tuple[str, ...], Field(description="`-` before a name: falling.")] = (),
        search: Annotated[str | None, Field(description="* is any text.")] = None,
        limit: _Limit = 100,
    ) -> str:
        """Read rows of a mart: by filters on columns, `search` in all texts, in an `order`.

        `total` is how many rows fit in all; NULL sorts first.
        """
        contracts = mart_contracts(database.project)
        if mart not in contracts:
            raise UnknownMart(mart, list(contracts))
        selection = selection_of(
            contracts[mart],
            [_pair(text) for text in filters],
            select=",".join(columns) or None,
            order=",".join(order),
            search=search,
            limit=limit,
        )
        with database.open() as source:
            source.columns(mart)
            rows = list(source.rows(selection))
            return _items(selection.columns, rows, total=source.count(selection))

    @tool
    def issues(
        key: Annotated[str | None, Field(description="The id of the row in question.")] = None,
        rule: Annotated[str | None, Field(description="Such as duplicate_id.")] = None,
        severity: Literal["error", "warning"] | None = None,
        resolved: Annotated[bool, Field(description="Also what a newer load resolved.")] = False,
        limit: _Limit = 100,
    ) -> str:
        """Tell why rows were not accepted (errors) or are doubted (warnings), with file and line.

        A line that could not be split has no key; its `value` holds the line.
        """
        rule_sentences(database.project, rule)
        status = None if resolved else "open"
        asked = {"record_key": key, "rule": rule, "severity": severity, "status": status}
        filters = [f"{name}=eq.{value}" for name, value in asked.items() if value is not None]
        return query(ISSUES, tuple(filters), limit=limit)

    @tool
    def why(
        mart: _Mart,
        key: Annotated[str, Field(description="The id of the figure's row.")],
        column: Annotated[str, Field(description="The column that holds the figure.")],
        limit: _Limit = 100,
    ) -> str:
        """Tell where a figure comes from: the accepted rows behind it, with file and line."""
        answer = rows_behind(database, mart, key, column, limit)
        return _items(answer.columns, answer.rows, meaning=answer.sentence)

    @tool
    def loads(limit: _Limit = 100) -> str:
        """List the newest loads: which files, when and by whom, which are current, how many rows
        were rejected."""
        rows, total = load_rows(database, limit=limit)
        return _items(COLUMNS, rows, total=total)

    @tool
    def status() -> str:
        """Tell which build is published, of which loads, and how many of its tests passed."""
        columns, rows, builds = published(database)
        return _items(columns, rows, builds=builds)

    server.run()


def _pair(text: str) -> tuple[str, str]:
    name, sign, value = text.partition("=")
    if not sign:
        raise BadParameter("filters", f"{text[:60]!r} is none. Write {FILTER_SYNTAX}")
    return name.strip(), value


def _items(columns: Sequence[Column], rows: Iterable[Row], **more: object) -> str:
    out = BytesIO()
    write_items(columns, rows, out, lambda: more)
    return out.getvalue().decode()
