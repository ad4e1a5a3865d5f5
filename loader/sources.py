"""The inputs that dbt's source YAML declares: the loader's whole knowledge of names.

A table of models/staging/_sources.yml with `config: meta: input: true` can be loaded. Its columns
are those of the files, except LOADER_COLUMNS, which the loader writes. A column's `config:
meta` says whether it is `required` in a file (default: yes) and by which other `header_names` a
file may call it. `natural_key` names the column that tells the records apart; the models use it.
What the cells of an input look like may stand beside it, under the names of CellFormats.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from loader.errors import (
    ConfigError,
    FileRefused,
    Proposal,
    ProposedColumn,
    RefusedHeader,
    UsageError,
)
from loader.printable import printable

if TYPE_CHECKING:
    from loader.contract import DeclaredTable

# What the loader adds to each record: where it comes from, and as JSON what it has beyond.
EXTRA = "extra"
LOADER_COLUMNS = ("load_id", "line", EXTRA)
# What it keeps beside the inputs: the last one has the greatest number that a load ever had.
LEDGER, REJECTED, LAST_LOAD = OWN_TABLES = ("loads", "rejected_lines", "last_load")
# PostgreSQL cuts a longer name short.
_LONGEST_NAME = 63
# Cells are trimmed of these everywhere: space, TAB, CR, LF, no-break space, byte order mark.
BLANKS = " \t\r\n\u00a0\ufeff"
# Also what nobody sees: spaces and joiners without width.
_BETWEEN_WORDS = re.compile(r"[\s_.\-\u00a0\ufeff\u200b-\u200f\u2060]+")
# What people add to a name: a unit in brackets, and signs.
_BESIDE_A_NAME = re.compile(r"[\W_]*?[(\[{].*|[\W_]+", re.DOTALL)
# How alike a cell and a name must be to be close (difflib's ratio). So many cells are compared, of
# so many characters, in so many candidates for a header.
_CLOSE = 0.78
_COMPARED = 200
_CANDIDATES = 20
# What begins as an id does: digits, or a short prefix and digits.
ID_LIKE = re.compile(r"[A-Za-z]{0,8}[-_]?[0-9]+(?:\.0*)?")
# A whole id: a number, with or without marks between thousands, or one behind any prefix.
_NUMBER = re.compile(r"[0-9]+(?:[.,' ][0-9]{3})*(?:\.0*)?")
_NAMED_ID = re.compile(r"[\w #:/.-]{1,12}?[0-9]+(?:\.0*)?")
# A prefix of ids goes into the patterns of three engines.
_PREFIX = re.compile(r"[\w #:/.-]+")
DURATIONS = tuple(
    f"{unit}{clock}" for clock in ("", ",h:mm", ",m:ss") for unit in ("s", "min", "h")
)


@dataclass(frozen=True)
class CellFormats:
    """What somebody said of the numbers, dates, lists and ids of a file; None is nothing said.

    Nothing of it is ever guessed. The loader keeps it in the ledger, the models read the cells by
    it. `decimal` is comma or point (the other one groups thousands), `dates` the order of a date's
    parts, `list_separator` one character, `id_prefix` what may stand before the digits of an id,
    one or more with commas between them. `durations` is the unit that they are read in; behind a
    comma what `26:15` is, if it may stand there.
    """

    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None

    def __post_init__(self) -> None:
        """Raise ValueError with a sentence for what no file can look like."""
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
        """The same, with what the other one says where nothing is said here."""
        return CellFormats(*(getattr(self, n) or getattr(other, n) for n in FORMAT_COLUMNS))


@dataclass(frozen=True)
class ReadOptions(CellFormats):
    """What a person says of files, of how they are split as well; None or () is nothing.

    `columns` names the cells of a file without a header. `quote` is "" for no quotation marks.
    `names` says what the header calls a column, `duration_min=experiment_run_time`.
    """

    encoding: str | None = None
    delimiter: str | None = None
    quote: str | None = None
    columns: tuple[str, ...] = ()
    sheet: str | None = None
    names: tuple[str, ...] = ()


# The columns of the ledger that have them.
FORMAT_COLUMNS = tuple(item.name for item in fields(CellFormats))


@dataclass(frozen=True)
class InputColumn:
    """A column of an input; `names` are the accepted headers, as `header_key` makes them.

    `said` are those that a person says for one call; they go before the declared ones.
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

    `formats` is what its files look like, `natural_key` the column of its records' ids.
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
        """What a person said of its headers, for the description of a dialect."""
        return "".join(f", {cell}={c.name}" for c in self.columns for cell in sorted(c.said))


@dataclass(frozen=True)
class HeaderMatch:
    """A header that means an input: its cells, and for each the declared column or None."""

    input: Input
    columns: tuple[str | None, ...]
    cells: tuple[str, ...]

    @property
    def key(self) -> int | None:
        """Which cell of a record is its id; None if the input does not say or the file lacks it."""
        key = self.input.natural_key
        return self.columns.index(key) if key in self.columns else None

    def is_record(self, cells: Sequence[str | None]) -> bool:
        """Whether cells above the header are those of a record: an id stands where ids stand."""
        if self.key is None or len(cells) != len(self.columns):
            return False
        filled = [bool(cell and cell.strip(BLANKS)) for cell in cells]
        id_ = (cells[self.key] or "").strip(BLANKS)
        if is_number(id_):
            return sum(filled) > 1
        # `Plate 7,,,` lacks what a record has; `2024-01-31,Export,,` is one only if it is full.
        required = {column.name for column in self.input.columns if column.required}
        needed = [name in required or id_[:1].isdigit() for name in self.columns]
        whole = all(is_ for is_, must in zip(filled, needed, strict=True) if must)
        return whole and _NAMED_ID.fullmatch(id_) is not None

    @property
    def lacks(self) -> list[InputColumn]:
        """The declared columns that the header does not name."""
        return [column for column in self.input.columns if column.name not in self.columns]

    @cached_property
    def further(self) -> dict[int, str]:
        """The names of cells that are no declared column, by number from 0, each name once."""
        by_name: dict[str, int] = {}
        for at, (cell, column) in enumerate(zip(self.cells, self.columns, strict=True)):
            name = unique = cell.strip()
            if column is None and name:
                count = 1
                while unique in by_name:
                    count += 1
                    unique = f"{name} ({count})"
                by_name[unique] = at
        return {at: name for name, at in by_name.items()}


def header_key(cell: str) -> str:
    """A header's cell without what people write differently: ` User-ID` and `user_id` are one."""
    return _BETWEEN_WORDS.sub("_", cell.strip(BLANKS).casefold()).strip("_")


def match_header(cells: Sequence[str], inputs: Sequence[Input]) -> list[HeaderMatch]:
    """The inputs that a header can mean: each required column stands there exactly once.

    One that has all columns of an input goes before one that names fewer and lacks some.
    """
    keys = [header_key(cell) for cell in cells]
    matches = [m for table in inputs if (m := _match(cells, keys, table)) is not None]
    whole = max((len(match.input.columns) for match in matches if not match.lacks), default=0)
    return [m for m in matches if not m.lacks or len(m.input.columns) - len(m.lacks) >= whole]


def with_said_names(inputs: Sequence[Input], names: Sequence[str]) -> Sequence[Input]:
    """The inputs whose columns are also found under what a person says: `header cell=column`.

    Raises UsageError if it is something else, or no input has the column.
    """
    said = []
    for text in names:
        cell, _, name = (part.strip() for part in text.rpartition("="))
        said.append((cell, name))
        if not header_key(cell):
            raise UsageError(f"--map {text}: say NAME=COLUMN.")
        if not any(name in table.column_names for table in inputs):
            known = ", ".join(dict.fromkeys(name for t in inputs for name in t.column_names))
            raise UsageError(f"--map {cell}={name}: there is no column {name!r}, but {known}.")

    def column_of(column: InputColumn) -> InputColumn:
        cells = frozenset(header_key(cell) for cell, name in said if name == column.name)
        others = {header_key(cell) for cell, name in said if name != column.name}
        return replace(column, said=cells, names=column.names - others) if said else column

    return [replace(table, columns=tuple(map(column_of, table.columns))) for table in inputs]


def is_number(cell: str) -> bool:
    """Whether a trimmed cell is a number as an id may be, with or without marks of thousands."""
    return _NUMBER.fullmatch(cell) is not None


def columns_alike(cells: Sequence[str | None], inputs: Sequence[Input]) -> list[InputColumn]:
    """The columns that cells name, but for signs and what stands in brackets.

    They are those of one input, of which they name most.
    """
    keys = {_bare(cell) for cell in cells if cell and len(cell) < _COMPARED}
    alike = (
        [c for c in table.columns if any(_bare(name) in keys for name in c.all_names)]
        for table in inputs
    )
    return max(alike, key=len)


class Likeness:
    """What cells have of the header of an input: `named` has the cells that name each column."""

    def __init__(self, cells: Sequence[str], table: Input) -> None:
        self.input, self.cells = table, cells
        keys = [header_key(cell) for cell in cells]
        self.named = {
            c.name: [cells[at] for at, key in enumerate(keys) if key in (c.said or c.names)]
            for c in table.columns
        }

    @cached_property
    def close(self) -> dict[str, str]:
        """For columns that no cell names one of the others that is close, if there is one."""
        close: dict[str, str] = {}
        taken = {cell for cells in self.named.values() for cell in cells}
        free = [cell for cell in self.cells if cell not in taken]
        for column in self.input.columns:
            if not self.named[column.name] and (cell := _closest(free, column)):
                close[column.name] = cell
                free.remove(cell)
        return close

    @property
    def score(self) -> int:
        """How much the cells have of the header; 0 if that is nothing."""
        return 2 * sum(map(bool, self.named.values())) + len(self.close)

    def explained(self) -> tuple[str, str]:
        """What the cells have and lack, and what helps; the advice may be ""."""
        columns = self.input.columns
        has = ", ".join(name for name, cells in self.named.items() if cells) or "nothing"
        advice = " ".join(_close_to(self.close[c.name], c) for c in columns if c.name in self.close)
        if lacks := [c.name for c in columns if c.required and not self.named[c.name]]:
            problem = f"lacks {', '.join(lacks)}"
        elif twice := next((cells for cells in self.named.values() if len(cells) > 1), None):
            problem = f"names one of them twice: {' and '.join(map(repr, twice))} mean the same"
            advice = advice or "Give one of them another name."
        else:
            problem = "its quotation marks are not right"
            advice = 'Put each name between two marks ("), or say another one with --quote.'
        return f"of {self.input.name} it has {has} and {problem}", advice

    def proposal(self) -> Proposal:
        """The cell that each column may be."""
        meant = {name: cells[0] for name, cells in self.named.items() if cells} | self.close
        columns = (
            ProposedColumn(c.name, c.required, meant.get(c.name)) for c in self.input.columns
        )
        return Proposal(self.input.name, tuple(columns))


def most_like(cells: Sequence[str], inputs: Sequence[Input]) -> Likeness:
    """What cells have of the input that they have most of."""
    return max((Likeness(cells, table) for table in inputs), key=lambda likeness: likeness.score)


class Candidate(NamedTuple):
    """Cells that may be meant as a header; `where` is that of RefusedHeader, `beside` says more."""

    where: str
    cells: Sequence[str]
    beside: str = ""


def without_header(
    name: str,
    looked_at: str,
    candidates: Sequence[Candidate],
    inputs: Sequence[Input],
    hint: str,
) -> FileRefused:
    """Says that what was looked at has no header, and of the closest candidate what is wrong.

    `hint` is for a file whose header is fine, or not there.
    """
    named_most = max(
        candidates, key=lambda one: (len(columns_alike(one.cells, inputs)), len(one.cells))
    )
    # Looking for names that are only close takes longer: among the first ones.
    likely = [named_most, *candidates[:_CANDIDATES]]
    judged = [(most_like(candidate.cells, inputs), candidate) for candidate in likely]
    closest, (where, cells, beside) = max(judged, key=lambda one: one[0].score)
    sentence = f"names columns of an input ({columns_of(inputs)}). {hint}"
    if closest.score:
        what, advice = closest.explained()
        advice = advice or f"A column of another name is said with --map NAME=COLUMN. {hint}"
        sentence = f"names all columns of an input. Closest is {where}{beside}: {what}. {advice}"
    refused = refused_header(where, cells, inputs) if cells else None
    return FileRefused(name, f": {looked_at} {sentence}", refused)


def columns_of(inputs: Sequence[Input]) -> str:
    """The inputs and their columns, for a person."""
    return "; ".join(f"{table.name}: {', '.join(table.column_names)}" for table in inputs)


def refused_header(where: str, cells: Sequence[str], inputs: Sequence[Input]) -> RefusedHeader:
    """A header that means none of the inputs, with the cell that each column may be."""

    def unlikely(proposal: Proposal) -> tuple[int, int]:
        missing = [column for column in proposal.columns if column.cell is None]
        return sum(column.required for column in missing), len(missing)

    proposals = [Likeness(cells, table).proposal() for table in inputs]
    return RefusedHeader(where, tuple(cells), tuple(sorted(proposals, key=unlikely)))


def _close_to(cell: str, column: InputColumn) -> str:
    # Letters of other scripts look the same.
    written = "" if cell.isascii() else f" (written {cell!a})"
    return (
        f"The cell {cell!r}{written} is close to {column.name}. If it is that column, rename it, "
        f"say --map '{printable(cell)}={column.name}', or add it to `header_names` in _sources.yml."
    )


def _closest(cells: Sequence[str], column: InputColumn) -> str:
    """The cell that is most like a name of the column; '' if none is close."""
    # Imported here: most files need no comparing.
    from difflib import get_close_matches

    likely = [cell for cell in cells[:_COMPARED] if 1 < len(cell) < _COMPARED]
    by_name = {_bare(cell): cell for cell in reversed(likely)}
    for name in map(_bare, (column.name, *sorted(column.names))):
        for close in get_close_matches(name, by_name, n=1, cutoff=_CLOSE):
            return by_name[close]
    return ""


@lru_cache(maxsize=1 << 12)
def _bare(name: str) -> str:
    return _BESIDE_A_NAME.sub("", unicodedata.normalize("NFKC", name).casefold())


def _match(cells: Sequence[str], keys: Sequence[str], table: Input) -> HeaderMatch | None:
    columns: list[str | None] = [None] * len(keys)
    for column in table.columns:
        positions: list[int] = []
        # What a person says goes before the declared name, and that before other names for it.
        for names in (column.said, (header_key(column.name),), column.names):
            positions = positions or [at for at, key in enumerate(keys) if key in names]
        positions = [at for at in positions if columns[at] is None]
        if len(positions) > 1 or (column.required and not positions):
            return None
        for at in positions:
            columns[at] = column.name
    return HeaderMatch(table, tuple(columns), tuple(cells)) if any(columns) else None


def single_match(
    name: str, where: str, header: Sequence[str], inputs: Sequence[Input]
) -> HeaderMatch | None:
    """What a header means, if anything.

    Raises FileRefused if that is two inputs, it lacks columns and may be that of another input,
    or a column seems to stand there under another name.
    """
    matches = match_header(header, inputs)
    if len(matches) > 1:
        both = " and ".join(match.input.name for match in matches)
        raise FileRefused(name, f"{where}: the header means {both}. Say which with --input.")
    if not matches:
        return None
    table = matches[0].input
    for other in inputs if matches[0].lacks else ():
        likeness = Likeness(header, other)
        is_like = likeness.score >= Likeness(header, table).score
        if other != table and is_like and likeness.named.get(other.natural_key):
            what, advice = likeness.explained()
            problem = f"it may be that of {table.name}, but {what}. {advice}".rstrip()
            refused = refused_header(where.removeprefix(", "), header, inputs)
            said = f"If it is that of {table.name}, say --input {table.name}."
            raise FileRefused(name, f"{where}: the header is not clear: {problem} {said}", refused)
    for column in matches[0].lacks:
        if cell := _closest([*matches[0].further.values()], column):
            apart = f"If it is another one, give the file a column {column.name} too, even empty."
            refused = refused_header(where.removeprefix(", "), header, inputs)
            raise FileRefused(name, f"{where}: {_close_to(cell, column)} {apart}", refused)
    return matches[0]


def read_inputs(path: Path) -> tuple[Input, ...]:
    """All inputs that the file declares. Raises ConfigError."""
    # Imported here: whoever reads files needs no YAML.
    from loader.contract import declared_tables

    tables = declared_tables(path, "sources")
    inputs = tuple(_input(path, table) for table in tables if table.config.meta.input)
    if not inputs:
        raise ConfigError(path, "no table has `config: {meta: {input: true}}`.")
    names = Counter(table.name for table in inputs) + Counter(OWN_TABLES)
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(path, f"there is more than one table {twice[0]}, or it is the loader's.")
    return inputs


def _input(path: Path, table: DeclaredTable) -> Input:
    meta = table.config.meta
    columns: list[InputColumn] = []
    for column in table.columns:
        where, keys = f"{table.name}.{column.name}", column.config.meta
        if column.name in LOADER_COLUMNS:
            continue
        names = frozenset(header_key(str(name)) for name in [column.name, *keys.header_names])
        if not header_key(column.name) or len(column.name.encode()) > _LONGEST_NAME:
            raise ConfigError(path, f"{where}: a column has a name of 1 to {_LONGEST_NAME} bytes.")
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
