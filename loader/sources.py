"""The inputs that dbt's source YAML declares: the loader's whole knowledge of names.

A table of models/staging/_sources.yml with `config: meta: input: true` can be loaded. Its columns
are those of the files, except `load_id` and `line`, which the loader writes. A column's `config:
meta` says whether it is `required` in a file (default: yes) and by which other `header_names` a
file may call it. `natural_key` names the column that tells the records apart; the models use it.
What the cells of an input look like may stand beside it, under the names of CellFormats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import ConfigError

if TYPE_CHECKING:
    from loader.contract import DeclaredColumn, DeclaredTable

# What the loader adds to each record.
LINEAGE_COLUMNS = ("load_id", "line")
# What the loader keeps beside the inputs: the ledger, lines that could not be split, and the
# greatest number that a load ever had.
LEDGER, REJECTED, LAST_LOAD = OWN_TABLES = ("loads", "rejected_lines", "last_load")
# PostgreSQL cuts a longer name short.
_LONGEST_NAME = 63
# Cells are trimmed of these everywhere: space, TAB, CR, LF, no-break space, byte order mark.
BLANKS = " \t\r\n\u00a0\ufeff"
_BETWEEN_WORDS = re.compile(r"[\s_.\-\u00a0\ufeff]+")


# A prefix of ids goes into the patterns of three engines.
_PREFIX = re.compile(r"[\w #:/.-]+")


@dataclass(frozen=True)
class CellFormats:
    """What somebody said of the numbers, dates, lists and ids of a file; None is nothing said.

    Nothing of it is ever guessed. The loader keeps it in the ledger, the models read the cells by
    it. `decimal` is comma or point (the other one groups thousands), `dates` the order of a date's
    parts (DMY, MDY, YMD), `list_separator` one character, `id_prefix` what may stand before the
    digits of an id: one or more, with commas between them.
    """

    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError with a sentence for what no file can look like."""
        if self.decimal not in (None, "comma", "point"):
            raise ValueError(f"decimal is comma or point, not {self.decimal!r}.")
        if self.dates not in (None, "DMY", "MDY", "YMD"):
            raise ValueError(f"dates are DMY, MDY or YMD, not {self.dates!r}.")
        separator = self.list_separator
        if separator is not None and (len(separator) != 1 or separator.isalnum()):
            raise ValueError(
                f"a list separator is one character, no letter and no digit, not {separator!r}."
            )
        for prefix in (self.id_prefix or "EXP-").split(","):
            if not _PREFIX.fullmatch(prefix) or prefix[-1].isdigit():
                raise ValueError(
                    f"an id prefix is made of letters, digits and the signs _-#:/. and ends with "
                    f"no digit, not {prefix!r}; with commas between several."
                )

    def or_else(self, other: CellFormats) -> CellFormats:
        """The same, with what the other one says where nothing is said here."""
        given = (getattr(self, name) or getattr(other, name) for name in FORMAT_COLUMNS)
        return CellFormats(*given)


# The columns of the ledger that have them.
FORMAT_COLUMNS = tuple(item.name for item in fields(CellFormats))


@dataclass(frozen=True)
class InputColumn:
    """A column of an input; `names` are the accepted headers, as `header_key` makes them."""

    name: str
    required: bool
    names: frozenset[str]


@dataclass(frozen=True)
class Input:
    """One table that files are loaded into; `formats` is what its files look like."""

    name: str
    columns: tuple[InputColumn, ...]
    formats: CellFormats = CellFormats()

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
    return [match for table in inputs if (match := _match(keys, table)) is not None]


def other_header(cells: Sequence[str], own: Input, inputs: Sequence[Input]) -> Input | None:
    """The input whose header the cells are, if it is another one than the table's own."""
    matches = [match.input for match in match_header(cells, inputs)]
    return next((table for table in matches if table != own), None) if own not in matches else None


def read_inputs(path: Path) -> tuple[Input, ...]:
    """All inputs that the file declares. Raises ConfigError."""
    # Imported here: whoever reads files needs no YAML.
    from loader.contract import declared_tables

    tables = declared_tables(path, "sources")
    inputs = tuple(_input(path, table) for table in tables if table.config.meta.input)
    if not inputs:
        raise ConfigError(path, "no table has `config: {meta: {input: true}}`.")
    _check_names(path, "inputs", [table.name for table in inputs])
    for table in inputs:
        _check_names(path, f"columns of {table.name}", table.column_names)
        if table.name in OWN_TABLES:
            raise ConfigError(path, f"{table.name} is a table of the loader's own, no input.")
    return inputs


def _check_names(path: Path, what: str, names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(path, f"two {what} are called {name}.")
        if len(name.encode()) > _LONGEST_NAME:
            raise ConfigError(path, f"{what}: {name} is longer than {_LONGEST_NAME} bytes.")


def _match(keys: Sequence[str], table: Input) -> HeaderMatch | None:
    columns: list[str | None] = [None] * len(keys)
    for column in table.columns:
        # The declared name itself goes before other names for the same thing.
        positions = [at for at, key in enumerate(keys) if key == header_key(column.name)]
        positions = positions or [at for at, key in enumerate(keys) if key in column.names]
        positions = [at for at in positions if columns[at] is None]
        if len(positions) > 1 or (column.required and not positions):
            return None
        for at in positions:
            columns[at] = column.name
    return HeaderMatch(table, tuple(columns)) if any(columns) else None


def _input(path: Path, table: DeclaredTable) -> Input:
    columns = tuple(
        _column(path, table.name, column)
        for column in table.columns
        if column.name not in LINEAGE_COLUMNS
    )
    if not columns:
        raise ConfigError(path, f"the input {table.name} declares no columns.")
    if table.config.meta.natural_key not in [column.name for column in columns]:
        raise ConfigError(path, f"the input {table.name} needs a `natural_key` among its columns.")
    meta = table.config.meta
    try:
        formats = CellFormats(meta.decimal, meta.dates, meta.list_separator, meta.id_prefix)
    except ValueError as error:
        raise ConfigError(path, f"the input {table.name}: {error}") from None
    return Input(name=table.name, columns=columns, formats=formats)


def _column(path: Path, table: str, column: DeclaredColumn) -> InputColumn:
    if not header_key(column.name):
        raise ConfigError(path, f"a column of the input {table} has no name.")
    if column.data_type != "text":
        raise ConfigError(path, f"{table}.{column.name}: the `data_type` of a loaded cell is text.")
    meta = column.config.meta
    names = frozenset(header_key(str(name)) for name in [column.name, *meta.header_names])
    return InputColumn(name=column.name, required=meta.required, names=names)
