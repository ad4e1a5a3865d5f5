"""The inputs that dbt's source YAML declares: the loader's whole knowledge of names.

A table of models/staging/_sources.yml with `config: meta: input: true` can be loaded. Its columns
are those of the files, except `load_id` and `line`, which the loader writes. A column's `config:
meta` says whether it is `required` in a file (default: yes) and by which other `header_names` a
file may call it. `natural_key` names the column that tells the records apart; the models use it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loader.errors import ConfigError
from loader.profile import read_yaml

# What the loader adds to each record.
STAMPS = ("load_id", "line")
# What the loader keeps beside the inputs.
OWN_TABLES = ("loads", "rejected_lines", "last_load")
# PostgreSQL cuts a longer name short.
_LONGEST_NAME = 63
# Cells are trimmed of these everywhere: space, TAB, CR, LF, no-break space, byte order mark.
BLANKS = " \t\r\n\u00a0\ufeff"
_BETWEEN_WORDS = re.compile(r"[\s_.\-\u00a0\ufeff]+")


@dataclass(frozen=True)
class InputColumn:
    """A column of an input; `names` are the accepted headers, as `header_key` makes them."""

    name: str
    required: bool
    names: frozenset[str]


@dataclass(frozen=True)
class Input:
    """One table that files are loaded into."""

    name: str
    columns: tuple[InputColumn, ...]

    @property
    def column_names(self) -> tuple[str, ...]:
        """The declared columns, in order."""
        return tuple(column.name for column in self.columns)


@dataclass(frozen=True)
class HeaderMatch:
    """A header that means an input: for each cell the declared column, or None to ignore it."""

    input: Input
    columns: tuple[str | None, ...]


def header_key(cell: str) -> str:
    """A header's cell without what people write differently: ` User-ID` and `user_id` are one."""
    return _BETWEEN_WORDS.sub("_", cell.strip(BLANKS).casefold()).strip("_")


def match_header(cells: Sequence[str], inputs: Sequence[Input]) -> list[HeaderMatch]:
    """The inputs that a header can mean: each required column stands there exactly once."""
    keys = [header_key(cell) for cell in cells]
    return [match for entry in inputs if (match := _match(keys, entry)) is not None]


def other_header(cells: Sequence[str], own: Input, inputs: Sequence[Input]) -> Input | None:
    """The input whose header the cells are, if it is another one than the table's own."""
    matches = [match.input for match in match_header(cells, inputs)]
    return next((entry for entry in matches if entry != own), None) if own not in matches else None


def read_inputs(path: Path) -> tuple[Input, ...]:
    """All inputs that the file declares. Raises ConfigError."""
    document = read_yaml(path)
    sources = document.get("sources") if isinstance(document, dict) else None
    if not isinstance(sources, list):
        raise ConfigError(path, "it has no list `sources:`.")
    tables = [table for source in sources for table in _entries(source, "tables")]
    inputs = tuple(_input(path, table) for table in tables if _meta(table).get("input") is True)
    if not inputs:
        raise ConfigError(path, "no table has `config: {meta: {input: true}}`.")
    _check_names(path, "inputs", [entry.name for entry in inputs])
    for entry in inputs:
        _check_names(path, f"columns of {entry.name}", entry.column_names)
        if entry.name in OWN_TABLES:
            raise ConfigError(path, f"{entry.name} is a table of the loader's own, no input.")
    return inputs


def _check_names(path: Path, what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(path, f"two {what} are called {name}.")
        if len(name.encode()) > _LONGEST_NAME:
            raise ConfigError(path, f"{what}: {name} is longer than {_LONGEST_NAME} bytes.")


def _match(keys: Sequence[str], entry: Input) -> HeaderMatch | None:
    columns: list[str | None] = [None] * len(keys)
    for column in entry.columns:
        # The declared name itself goes before other names for the same thing.
        found = [at for at, key in enumerate(keys) if key == header_key(column.name)]
        found = found or [at for at, key in enumerate(keys) if key in column.names]
        found = [at for at in found if columns[at] is None]
        if len(found) > 1 or (column.required and not found):
            return None
        for at in found:
            columns[at] = column.name
    return HeaderMatch(entry, tuple(columns)) if any(columns) else None


def _input(path: Path, table: dict[str, object]) -> Input:
    name = str(table.get("name"))
    columns = tuple(
        _column(path, name, column)
        for column in _entries(table, "columns")
        if column.get("name") not in STAMPS
    )
    if not columns:
        raise ConfigError(path, f"the input {name} declares no columns.")
    key = _meta(table).get("natural_key")
    if key not in [column.name for column in columns]:
        raise ConfigError(path, f"the input {name} needs a `natural_key` among its columns.")
    return Input(name=name, columns=columns)


def _column(path: Path, table: str, column: dict[str, object]) -> InputColumn:
    name = column.get("name")
    if not isinstance(name, str) or not header_key(name):
        raise ConfigError(path, f"a column of the input {table} has no name.")
    if column.get("data_type") != "text":
        raise ConfigError(path, f"{table}.{name}: the `data_type` of a loaded cell is text.")
    meta = _meta(column)
    names = meta.get("header_names", [])
    if not isinstance(names, list):
        raise ConfigError(path, f"{table}.{name}: `header_names` must be a list.")
    required = meta.get("required", True)
    if not isinstance(required, bool):
        raise ConfigError(path, f"{table}.{name}: `required` is true or false.")
    accepted = frozenset(header_key(str(other)) for other in [name, *names])
    return InputColumn(name=name, required=required, names=accepted)


def _entries(parent: object, key: str) -> Iterator[dict[str, object]]:
    entries = parent.get(key) if isinstance(parent, dict) else None
    yield from (entry for entry in entries or [] if isinstance(entry, dict))


def _meta(entry: dict[str, object]) -> dict[str, object]:
    config = entry.get("config")
    meta = config.get("meta") if isinstance(config, dict) else None
    return meta if isinstance(meta, dict) else {}
