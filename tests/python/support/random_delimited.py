"""Delimited text of random contents in a random dialect, with what must become of each line.

The writing is the reverse of how DESIGN and the issue describe the reading: a cell that begins with
a quotation mark (after blanks) is quoted, any other cell is the text between delimiters; a bad line
is rejected alone.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from support.random_tables import WESTERN, Cell, Draft, Table, draft, is_record

BLANKS = " \t\r\n\u00a0\ufeff"
_ENDS = re.compile("\r\n|\r|\n")
DELIMITERS = (*",,,;;\t\t|~^: ", "\x1f", "\x01")
PRELUDE = (
    *("", "  ", "Export of lab 7", "# by Ada, 2023; all of it", 'He said "hello', "a\tb\tc"),
    *("sep=;", "users", "user_id,phone", "<3 of the lab"),
)
ENCODINGS = {
    "utf-8": ("utf-8", b""),
    "utf-8 with mark": ("utf-8", b"\xef\xbb\xbf"),
    "utf-16": ("utf-16-le", b"\xff\xfe"),
    "utf-16 big": ("utf-16-be", b"\xfe\xff"),
    "utf-16 without mark": ("utf-16-le", b""),
    "utf-32": ("utf-32-le", b"\xff\xfe\0\0"),
    "windows-1252": ("cp1252", b""),
}
# Bytes that are no text under the encoding.
DAMAGE = {
    "utf-8": (b"\xff", b"\xfe\xff", b"\xc0\xaf", b"\xed\xa0\x80\xff"),
    "utf-16-le": (b"\x3d\xd8",),
    "utf-16-be": (b"\xd8\x3d",),
    "utf-32-le": (b"\0\0\x11\0",),
}


@dataclass
class Writer:
    """Writes one file; `body` grows line by line."""

    rng: random.Random
    encoding: str
    delimiter: str
    quoting: str
    before: str
    after: str
    ends: tuple[str, ...]
    # No cell of the file could close a mark that was left open elsewhere.
    is_shut: bool = False
    body: bytearray = field(default_factory=bytearray)
    line: int = 1
    ended: str = "\n"
    rows: list[tuple[int, tuple[Cell, ...]]] = field(default_factory=list)
    rejected: list[tuple[int, str, str]] = field(default_factory=list)

    def put(self, text: str | bytes, *, lines: int = 0) -> int:
        """Write a line, or a record of some more; the number of its first line."""
        end = self.rng.choice(self.ends)
        if not text and self.ended == "\r":
            # With LF it would be the end of the line before.
            end = "\r"
        self.body += text.encode(self.encoding) if isinstance(text, str) else text
        self.body += end.encode(self.encoding)
        self.ended = end
        first = self.line
        self.line += 1 + lines
        return first

    def record(self, cells: tuple[Cell, ...]) -> tuple[str, tuple[Cell, ...]]:
        """A record as it is written, and its cells as they are to be read."""
        pieces: list[str] = []
        values: list[Cell] = []
        for at, cell in enumerate(cells):
            before = self.before if at else ""
            after = self.after if at < len(cells) - 1 else ""
            if self.is_quoted(cell):
                text = cell or ""
                marked = '"' + text.replace('"', '""') + '"'
                pieces.append(before + marked + after)
                values.append(text)
            else:
                bare = f"{before}{cell or ''}{after}"
                pieces.append(bare)
                values.append(bare or None)
        return self.delimiter.join(pieces), tuple(values)

    def is_quoted(self, cell: Cell) -> bool:
        """Whether a cell is, or has to be, quoted."""
        if self.quoting == "all":
            return True
        if cell is None:
            return False
        if cell == "" or self.delimiter in cell or _ENDS.search(cell):
            return True
        if cell.lstrip(BLANKS).startswith('"'):
            return True
        if self.quoting == "careful" and '"' in cell:
            return True
        return self.quoting == "text" and not cell.isdecimal()

    def reject(self, kind: str, width: int) -> None:
        """Write a line that is to be rejected."""
        words = [f"w\\{n}" for n in range(width)]
        text = self.record(tuple(words))[0]
        if kind in ("few", "many"):
            count = self.rng.choice((1, width - 1)) if kind == "few" else width + 2
            text = self.record(tuple("w" for _ in range(count)))[0]
            self.rejected.append((self.put(text), "wrong_column_count", text))
        elif kind == "open":
            # Too many cells, if a line below could make a record of it.
            begun = words[1:] if self.is_shut else [*words, "w"]
            text = self.record(tuple(begun))[0] + f'{self.delimiter}"open'
            self.rejected.append((self.put(text), "broken_quoting", text))
        elif kind == "misplaced":
            text += f'{self.delimiter}"a"b'
            self.rejected.append((self.put(text), "broken_quoting", text))
        elif kind == "nul":
            line = self.put(text + "\0x")
            self.rejected.append((line, "nul_byte", text.replace("\\", "\\\\") + "\\x00x"))
        else:
            damage = self.rng.choice(DAMAGE[self.encoding])
            shown = text.replace("\\", "\\\\") + "".join(f"\\x{byte:02x}" for byte in damage)
            line = self.put(text.encode(self.encoding) + damage)
            self.rejected.append((line, "undecodable", shown))


def delimited(rng: random.Random, given: Draft | None = None) -> tuple[bytes, Table]:
    """A random file, or a given table in a random dialect, and what must become of it."""
    name = rng.choice((*["utf-8"] * 4, *ENCODINGS))
    plain = name in ("utf-16 without mark", "windows-1252")
    if given and plain:
        name, plain = "utf-16", False
    encoding, mark = ENCODINGS[name]
    delimiter = rng.choice(DELIMITERS)
    made = given or draft(
        rng, str.isascii if plain else lambda _: True, western=name == "windows-1252"
    )
    writer = Writer(rng, encoding, delimiter, "some", "", "", _ends(rng))
    bad = _bad_lines(rng, name)
    _choose_quoting(writer, bad)
    if writer.delimiter not in (*BLANKS, "\x1f") and rng.random() < 0.4:
        writer.before = rng.choice(("", " ", "\t", "  "))
        writer.after = rng.choice(("", "", " ", "\t"))
    opening = f'{BLANKS}{writer.delimiter}"'
    cells = (cell for record in made.records for cell in record)
    writer.is_shut = not any(cell and cell[0] in opening for cell in cells)
    writer.body += mark
    for text in rng.sample(PRELUDE, rng.choice((0, 0, 0, 1, 3))):
        writer.put(text)
    # A no-break space alone could be a letter of MS-DOS's encoding, and the file would be refused.
    spaces = "\u00a0" in "".join(cell or "" for row in (made.header, *made.records) for cell in row)
    if name == "windows-1252" and (rng.random() < 0.5 or spaces):
        # Not `3 ± 1`, which has the cells of a record where spaces are delimiters.
        writer.put(rng.choice([text for text in WESTERN if text[0].isalpha()]))
    _write(writer, made, bad)
    content = bytes(writer.body)
    if rng.random() < 0.3:
        content = content.removesuffix(writer.ended.encode(encoding))
    return content, Table(made.input.name, "", tuple(writer.rows), tuple(writer.rejected))


def _choose_quoting(writer: Writer, bad: list[str]) -> None:
    rng = writer.rng
    writer.quoting = rng.choice(("some", "some", "text", "all"))
    if {"open", "misplaced"} & {*bad}:
        # Two wrongs could make a right: such a line and a mark within a bare cell.
        writer.quoting = rng.choice(("careful", "all"))


def _write(writer: Writer, made: Draft, bad: list[str]) -> None:
    rng = writer.rng
    head = writer.quoting
    if head == "careful":
        writer.quoting = "all"
    text, names = writer.record(made.header)
    writer.put(text, lines=len(_ENDS.findall("".join(name or "" for name in names))))
    writer.quoting = head
    places = [rng.randint(0, len(made.records)) for _ in bad]
    blank_lines = rng.random() < 0.2
    for at in range(len(made.records) + 1):
        for kind, place in zip(bad, places, strict=True):
            if place == at:
                writer.reject(kind, made.width)
        if blank_lines and rng.random() < 0.3:
            writer.put(rng.choice(("", "" if writer.delimiter in BLANKS else " \t ")))
        if at < len(made.records):
            text, values = writer.record(made.records[at])
            line = writer.put(text, lines=len(_ENDS.findall(text)))
            if is_record(values):
                writer.rows.append((line, made.kept(values)))


def _ends(rng: random.Random) -> tuple[str, ...]:
    return rng.choice((("\n",), ("\n",), ("\r\n",), ("\r\n",), ("\r",), ("\n", "\r\n", "\r")))


def _bad_lines(rng: random.Random, encoding: str) -> list[str]:
    if rng.random() < 0.6:
        return []
    kinds = ["few", "many", "open", "misplaced"]
    if encoding != "utf-16 without mark":
        kinds.append("nul")
    if ENCODINGS[encoding][0] in DAMAGE and encoding != "utf-16 without mark":
        kinds.append("undecodable")
    return [rng.choice(kinds) for _ in range(rng.choice((1, 1, 2, 5)))]
