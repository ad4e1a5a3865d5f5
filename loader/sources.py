"""The inputs that dbt's source YAML declares: everything the loader knows about names.

A table of models/staging/_sources.yml with `config: meta: input: true` can be loaded. Its columns
are those of the files, except LOADER_COLUMNS, which the loader writes. A column's `config: meta`
says whether it is `required` in a file (default: yes) and which other `header_names` a file may use
for it. A table's `natural_key` names the column that identifies a record; the models use it. The
formats of the table's cells may be declared beside it, under the names of CellFormats.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import ConfigError, UsageError, no_such

if TYPE_CHECKING:
    from loader.contract import DeclaredTable

# What the loader adds to each record: its origin, and its further columns as JSON.
EXTRA = "extra"
LOADER_COLUMNS = ("load_id", "line", EXTRA)
# The loader's own tables; the last one holds the highest load_id ever used.
LEDGER, REJECTED, LAST_LOAD = OWN_TABLES = ("loads", "rejected_lines", "last_load")
# PostgreSQL silently truncates longer names.
LONGEST_NAME = 63
# Trimmed from cells everywhere: space, TAB, CR, LF, no-break space, byte order mark.
BLANKS = " \t\r\n\u00a0\ufeff"
# Includes invisible characters: zero-width spaces and joiners.
_BETWEEN_WORDS = re.compile(r"[\s_.\-\u00a0\ufeff\u200b-\u200f\u2060]+")
# An id prefix becomes part of patterns in three engines.
_PREFIX = re.compile(r"[\w #:/.-]+")
DURATIONS = tuple(
    f"{unit}{clock}" for clock in ("", ",h:mm", ",m:ss") for unit in ("s", "min", "h")
)


@dataclass(frozen=True)
class CellFormats:
    """The stated formats of a file's numbers, dates, lists and ids; None means not stated.

    They are never guessed. The loader records them in the ledger, and the models read the cells by
    them. `decimal` is comma or point (the other one groups thousands), `dates` the order of a
    date's parts, `list_separator` one character, `id_prefix` the comma-separated prefixes that may
    precede the digits of an id. `durations` is the unit to read them in, optionally followed by a
    comma and what `26:15` means.
    """

    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError, with a readable message, for an impossible format."""
        if self.decimal not in (None, "comma", "point"):
            raise ValueError(f"decimal is comma or point, not {self.decimal!r}.")
        if self.dates not in (None, "DMY", "MDY", "YMD"):
            raise ValueError(f"dates are DMY, MDY or YMD, not {self.dates!r}.")
        if self.durations not in (None, *DURATIONS):
            raise ValueError(f"durations are {', '.join(DURATIONS)}, not {self.durations!r}.")
        mark = self.list_separator
        if mark is not None and (len(mark) != 1 or mark.isalnum()):
            raise ValueError(f"a list separator is one sign, no letter or digit, not {mark!r}.")
        for prefix in (self.id_prefix or "EXP-").split(","):
            if not _PREFIX.fullmatch(prefix) or prefix[-1].isdigit():
                raise ValueError(
                    "an id prefix is made of letters, digits and the signs _-#:/. and ends with no "
                    f"digit, not {prefix!r}; with commas between several."
                )

    def or_else(self, other: CellFormats) -> CellFormats:
        """These formats, with gaps filled from the other."""
        return CellFormats(*(getattr(self, n) or getattr(other, n) for n in FORMAT_COLUMNS))


@dataclass(frozen=True)
class ReadOptions(CellFormats):
    """What the user states about files, including how to split them; None or () means not stated.

    `columns` names the cells of a file without a header. `quote` is "" for no quotation marks.
    `names` maps header names to columns, `duration_min=experiment_run_time`.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    columns: tuple[str, ...] = ()
    sheet: str | None = None
    names: tuple[str, ...] = ()


# The ledger columns that hold the formats.
FORMAT_COLUMNS = tuple(item.name for item in fields(CellFormats))


@dataclass(frozen=True)
class InputColumn:
    """A column of an input; `names` are the accepted headers, normalised by `header_key`.

    `said` are the names given for one call; they take precedence over the declared ones.
    """

    name: str
    required: bool
    names: frozenset[str]
    said: frozenset[str] = frozenset()

    @property
    def all_names(self) -> frozenset[str]:
        return self.names | self.said


@dataclass(frozen=True)
class Input:
    """One table that files are loaded into.

    `formats` are the formats of its files, `natural_key` the column with the ids of its records.
    """

    name: str
    columns: tuple[InputColumn, ...]
    formats: CellFormats = CellFormats()
    natural_key: str = ""

    @property
    def column_names(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @property
    def said(self) -> str:
        """The names given for its headers, for the description of a dialect."""
        return "".join(f", {cell}={c.name}" for c in self.columns for cell in sorted(c.said))


def header_key(cell: str) -> str:
    """A header cell, normalised so that ` User-ID` and `user_id` are equal."""
    return _BETWEEN_WORDS.sub("_", cell.strip(BLANKS).casefold()).strip("_")


def with_said_names(inputs: Sequence[Input], names: Sequence[str]) -> Sequence[Input]:
    """The inputs with additional names for their columns, given as `header cell=column`.

    Raises UsageError if a name has another form, or if no input has the column.
    """
    said = []
    for text in names:
        cell, _, name = (part.strip() for part in text.rpartition("="))
        said.append((cell, name))
        if not header_key(cell):
            raise UsageError(f"--map {text}: say NAME=COLUMN.")
        if not any(name in table.column_names for table in inputs):
            names = ", ".join(dict.fromkeys(name for t in inputs for name in t.column_names))
            raise UsageError(f"--map {cell}={name}: there is no column {name!r}, but {names}.")

    def column_of(column: InputColumn) -> InputColumn:
        cells = frozenset(header_key(cell) for cell, name in said if name == column.name)
        others = {header_key(cell) for cell, name in said if name != column.name}
        return replace(column, said=cells, names=column.names - others) if said else column

    return [replace(table, columns=tuple(map(column_of, table.columns))) for table in inputs]


def read_inputs(path: Path) -> tuple[Input, ...]:
    """All inputs that the file declares. Raises ConfigError."""
    # Imported here because reading files needs no YAML.
    from loader.contract import declared_tables

    tables = declared_tables(path, "sources")
    inputs = tuple(_input(path, table) for table in tables if table.config.meta.input)
    if not inputs:
        raise ConfigError(path, "no table has `config: {meta: {input: true}}`.")
    names = Counter(table.name for table in inputs) + Counter(OWN_TABLES)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(path, f"there is more than one table {twice[0]}, or it is the loader's.")
    return inputs


def restricted(inputs: Sequence[Input], name: str | None) -> Sequence[Input]:
    """Only the input of that name, if one is given. Raises UsageError if there is none."""
    chosen = [table for table in inputs if name in (None, table.name)]
    if name is not None and not chosen:
        raise UsageError(no_such("input", name, [table.name for table in inputs]))
    return chosen


def _input(path: Path, table: DeclaredTable) -> Input:
    meta = table.config.meta
    columns: list[InputColumn] = []
    for column in table.columns:
        where, keys = f"{table.name}.{column.name}", column.config.meta
        if column.name in LOADER_COLUMNS:
            continue
        names = frozenset(header_key(str(name)) for name in [column.name, *keys.header_names])
        if not header_key(column.name) or len(column.name.encode()) > LONGEST_NAME:
            raise ConfigError(path, f"{where}: a column has a name of 1 to {LONGEST_NAME} bytes.")
        if column.type != "text":
            raise ConfigError(path, f"{where}: the `data_type` of a loaded cell is text.")
        if any(column.name == other.name for other in columns):
            raise ConfigError(path, f"{where}: two columns have this name.")
        columns.append(InputColumn(column.name, keys.required, names))
    if meta.natural_key not in [column.name for column in columns]:
        raise ConfigError(path, f"the input {table.name} needs a `natural_key` among its columns.")
    try:
        formats = CellFormats(*(getattr(meta, name) for name in FORMAT_COLUMNS))
    except ValueError as error:
        raise ConfigError(path, f"the input {table.name}: {error}") from None
    return Input(table.name, tuple(columns), formats, meta.natural_key)
