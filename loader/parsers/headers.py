"""Headers: which input a line's cells name, and what is wrong if they name none.

Each required column of an input appears in its header exactly once, under any of its names. A
similar name is never accepted; the refusal proposes it instead.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import NamedTuple

from loader.errors import FileRefused, Proposal, ProposedColumn, RefusedHeader
from loader.printable import printable
from loader.sources import BLANKS, Input, InputColumn, header_key

# What people append to names: units in brackets, and signs.
_BESIDE_A_NAME = re.compile(r"[\W_]*?[(\[{].*|[\W_]+", re.DOTALL)
# How similar a cell and a name must be to be close (difflib's ratio); how many cells are compared,
# and of how many characters; how many header candidates are tried.
_CLOSE = 0.78
_COMPARED = 200
_CANDIDATES = 20
# Begins like an id: digits, or a short prefix and digits.
ID_LIKE = re.compile(r"[A-Za-z]{0,8}[-_]?[0-9]+(?:\.0*)?")
# A whole id: a number, with or without thousands separators, or one after any prefix.
_NUMBER = re.compile(r"[0-9]+(?:[.,' ][0-9]{3})*(?:\.0*)?")
_NAMED_ID = re.compile(r"[\w #:/.-]{1,12}?[0-9]+(?:\.0*)?")


@dataclass(frozen=True)
class HeaderMatch:
    """A header that names an input: its cells, and for each the declared column or None."""

    input: Input
    columns: tuple[str | None, ...]
    cells: tuple[str, ...]

    @property
    def key(self) -> int | None:
        """The index of the id cell; None if the input declares no key or the file lacks it."""
        key = self.input.natural_key
        return self.columns.index(key) if key in self.columns else None

    def is_record(self, cells: Sequence[str | None]) -> bool:
        """Whether cells above the header form a record: an id is where ids belong."""
        if self.key is None or len(cells) != len(self.columns):
            return False
        filled = [bool(cell and cell.strip(BLANKS)) for cell in cells]
        id_ = (cells[self.key] or "").strip(BLANKS)
        if is_number(id_):
            return sum(filled) > 1
        # `Plate 7,,,` lacks required cells; `2024-01-31,Export,,` is a record only if it is full.
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
        """The names of undeclared columns by index, made unique."""
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


def is_number(cell: str) -> bool:
    """Whether a trimmed cell is a number as in ids, with or without thousands separators."""
    return _NUMBER.fullmatch(cell) is not None


def match_header(cells: Sequence[str], inputs: Sequence[Input]) -> list[HeaderMatch]:
    """The inputs that a header can mean: each required column appears exactly once.

    A match with all columns of an input beats one that names fewer columns and lacks some.
    """
    keys = [header_key(cell) for cell in cells]
    matches = [m for table in inputs if (m := _match(cells, keys, table)) is not None]
    whole = max((len(match.input.columns) for match in matches if not match.lacks), default=0)
    return [m for m in matches if not m.lacks or len(m.input.columns) - len(m.lacks) >= whole]


def _match(cells: Sequence[str], keys: Sequence[str], table: Input) -> HeaderMatch | None:
    columns: list[str | None] = [None] * len(keys)
    for column in table.columns:
        positions: list[int] = []
        # Names from the user come first, then the declared name, then its other names.
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
    """The input that a header means, if any.

    Raises FileRefused if it means two inputs, if it lacks columns and may belong to another input,
    or if a column seems to be there under another name.
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
            advice = advice or "A column of another name is said with --map NAME=COLUMN."
            problem = f"it may be that of {table.name}, but {what}. {advice}"
            refused = refused_header(where.removeprefix(", "), header, inputs)
            said = f"If it is that of {table.name}, say --input {table.name}."
            raise FileRefused(name, f"{where}: the header is not clear: {problem} {said}", refused)
    for column in matches[0].lacks:
        if cell := _closest([*matches[0].further.values()], column):
            apart = f"If it is another one, give the file a column {column.name} too, even empty."
            refused = refused_header(where.removeprefix(", "), header, inputs)
            raise FileRefused(name, f"{where}: {_close_to(cell, column)} {apart}", refused)
    return matches[0]


def columns_alike(cells: Sequence[str | None], inputs: Sequence[Input]) -> list[InputColumn]:
    """The columns that cells name, ignoring signs and text in brackets.

    They belong to one input: the one with the most columns named.
    """
    keys = {_bare(cell) for cell in cells if cell and len(cell) < _COMPARED}
    alike = (
        [c for c in table.columns if any(_bare(name) in keys for name in c.all_names)]
        for table in inputs
    )
    return max(alike, key=len)


class Likeness:
    """How far cells resemble the header of an input; `named` has the cells for each column."""

    def __init__(self, cells: Sequence[str], table: Input) -> None:
        self.input, self.cells = table, cells
        keys = [header_key(cell) for cell in cells]
        self.named = {
            c.name: [cells[at] for at, key in enumerate(keys) if key in (c.said or c.names)]
            for c in table.columns
        }

    @cached_property
    def close(self) -> dict[str, str]:
        """For columns that no cell names: a remaining cell with a close name, if any."""
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
        """How much of the header the cells have; 0 for nothing."""
        return 2 * sum(map(bool, self.named.values())) + len(self.close)

    def explained(self) -> tuple[str, str]:
        """What the cells have and lack, and advice, which may be ""."""
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
        """The cell that may mean each column."""
        meant = {name: cells[0] for name, cells in self.named.items() if cells} | self.close
        columns = (
            ProposedColumn(c.name, c.required, meant.get(c.name)) for c in self.input.columns
        )
        return Proposal(self.input.name, tuple(columns))


def most_like(cells: Sequence[str], inputs: Sequence[Input]) -> Likeness:
    """The likeness to the most similar input."""
    return max((Likeness(cells, table) for table in inputs), key=lambda likeness: likeness.score)


class Candidate(NamedTuple):
    """Cells that may be a header; `where` is as in RefusedHeader, `beside` adds detail."""

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
    """The refusal of a file without a header; it says what is wrong with the closest candidate.

    `hint` is for a file whose header is fine, or absent.
    """

    def names(candidate: Candidate) -> tuple[int, int]:
        return len(columns_alike(candidate.cells, inputs)), len(candidate.cells)

    # Searching for close names takes longer, so only the first candidates are tried.
    likely = [max(candidates, key=names), *candidates[:_CANDIDATES]]
    judged = [(most_like(candidate.cells, inputs), candidate) for candidate in likely]
    closest, (where, cells, beside) = max(judged, key=lambda pair: pair[0].score)
    sentence = f"names columns of an input ({columns_of(inputs)}). {hint}"
    if closest.score:
        what, advice = closest.explained()
        advice = advice or f"A column of another name is said with --map NAME=COLUMN. {hint}"
        sentence = f"names all columns of an input. Closest is {where}{beside}: {what}. {advice}"
    refused = refused_header(where, cells, inputs) if cells else None
    return FileRefused(name, f": {looked_at} {sentence}", refused)


def columns_of(inputs: Sequence[Input]) -> str:
    """The inputs and their columns, for messages."""
    return "; ".join(f"{table.name}: {', '.join(table.column_names)}" for table in inputs)


def refused_header(where: str, cells: Sequence[str], inputs: Sequence[Input]) -> RefusedHeader:
    """A header that matches no input, with the cell that may mean each column."""

    def unlikely(proposal: Proposal) -> tuple[int, int]:
        missing = [column for column in proposal.columns if column.cell is None]
        return sum(column.required for column in missing), len(missing)

    proposals = [Likeness(cells, table).proposal() for table in inputs]
    return RefusedHeader(where, tuple(cells), tuple(sorted(proposals, key=unlikely)))


def _close_to(cell: str, column: InputColumn) -> str:
    # Letters of other scripts can look the same.
    written = "" if cell.isascii() else f" (written {cell!a})"
    return (
        f"The cell {cell!r}{written} is close to {column.name}. If it is that column, rename it, "
        f"say --map '{printable(cell)}={column.name}', or add it to `header_names` in _sources.yml."
    )


def _closest(cells: Sequence[str], column: InputColumn) -> str:
    """The cell most similar to a name of the column; '' if none is close."""
    likely = [cell for cell in cells[:_COMPARED] if 1 < len(cell) < _COMPARED]
    by_name = {_bare(cell): cell for cell in reversed(likely)}
    for name in map(_bare, (column.name, *sorted(column.names))):
        for close in get_close_matches(name, by_name, n=1, cutoff=_CLOSE):
            return by_name[close]
    return ""


@lru_cache(maxsize=1 << 12)
def _bare(name: str) -> str:
    return _BESIDE_A_NAME.sub("", unicodedata.normalize("NFKC", name).casefold())
