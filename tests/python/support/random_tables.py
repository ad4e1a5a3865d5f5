"""Tables of random contents, hostile on purpose, before they become files."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import yaml
from support.project import ROOT
from support.random_labs import EVIL

Cell = str | None
Cells = tuple[Cell, ...]
# Line, rule and text.
Rejected = tuple[int, str, str]

CELLS: tuple[Cell, ...] = (
    *("1", "7", "42", "007", "7.0", "12.50", "2023-01-01", "1;2", "C20H25N3O", "Ada", "a@lab.org"),
    *(None, None, "", " ", " padded ", "\tx", "x\t", "\u00a0x", "\ufeffx", "\n", "a\n\nb", "\r\nx"),
    *("C:\\new\\x", "\\\\", "x\\", "$(rm -rf /)", "`reboot`", "; shutdown -h now", "| tee x"),
    *('=HYPERLINK("http://x","y")', "<img src=x onerror=alert(1)>", '"quoted"', 'say "hi"', '"x'),
    *("'t Hooft", "'a'", ",", ";", "|", "\t", ",b", '",b', ';"', "#", "%", "-1", "a, b", "a  b"),
    *("Robert'); drop table users; --", "\x1b[31mred", "x\x1fy", "{}", "[1]", "0", "-0", "1e5"),
)
# What people write in Windows-1252, never two such letters in a row: that could be UTF-8 as well.
WESTERN = ("Béla", "Müller", "5 µm", "20 °C", "a – b", "“x” y", "3 ± 1", "naïve", "Åse", "100 €")
EXTRAS = (
    *("note", "comment 1", "Ω", "=1+1", "<b>x</b>", "'; drop table users; --", "$(reboot)", "Z\\"),
    *("\x1b[31mred", 'say "x"', "two\nlines", "a,b;c", "", "%s", "{{ 1/0 }}"),
)


@dataclass(frozen=True)
class Declared:
    """An input as _sources.yml declares it; `names` are all accepted headers of each column."""

    name: str
    names: dict[str, tuple[str, ...]]

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(self.names)


@dataclass(frozen=True)
class Table:
    """What must be in the database: rows (line, cells as declared), and rejected lines."""

    input: str
    part: str
    rows: tuple[tuple[int, Cells], ...]
    rejected: tuple[Rejected, ...] = ()

    @property
    def read(self) -> int:
        return len(self.rows) + len(self.rejected)


def declared() -> tuple[Declared, ...]:
    """The inputs, read here once more and not by the loader."""
    document = yaml.safe_load((ROOT / "models" / "staging" / "_sources.yml").read_text())
    found = []
    for table in document["sources"][0]["tables"]:
        if not table.get("config", {}).get("meta", {}).get("input"):
            continue
        names = {
            column["name"]: (column["name"], *column["config"]["meta"]["header_names"])
            for column in table["columns"]
            if column["name"] not in ("load_id", "line", "extra")
        }
        found.append(Declared(table["name"], names))
    return tuple(found)


INPUTS = declared()


def is_record(cells: Iterable[Cell]) -> bool:
    """Whether there is anything but empty cells."""
    return any(cell and cell.strip(" \t\r\n\u00a0\ufeff") for cell in cells)


@dataclass(frozen=True)
class Draft:
    """A table before it has a form: its header, where declared columns stand, its records."""

    input: Declared
    header: tuple[str, ...]
    places: tuple[int, ...]
    records: tuple[Cells, ...]

    @property
    def width(self) -> int:
        """How many cells a record has."""
        return len(self.header)

    def kept(self, cells: Cells) -> Cells:
        """The declared cells of a record, in the order of the declaration."""
        return tuple(cells[place] for place in self.places)


def draft(
    rng: random.Random, fits: Callable[[str], bool], *, western: bool = False, nameless: bool = True
) -> Draft:
    """A random table whose texts all fit. Its columns stand in any order, among others."""
    entry = rng.choice(INPUTS)
    columns: list[tuple[str, str]] = [
        (column, spelled(rng, rng.choice(names))) for column, names in entry.names.items()
    ]
    if rng.random() < 0.4:
        rng.shuffle(columns)
    extras = [name for name in EXTRAS if fits(name) and (name or nameless)]
    if rng.random() < 0.3:
        for name in rng.sample(extras, rng.randint(1, 3)):
            # Delimiters at the end of the header alone would mean nothing.
            columns.insert(rng.randint(0, len(columns) - (not name)), ("", name))
    pool = [cell for cell in (*CELLS, *EVIL) if cell is None or fits(cell)]
    pool += [*WESTERN, *WESTERN] if western else []
    count = rng.choice((0, 1, 3, 10, 25))
    records = [tuple(rng.choice(pool) for _ in columns) for _ in range(count)]
    records += [tuple(f"{name} {n}" for name, _ in columns) for n in range(rng.choice((0, 0, 15)))]
    if rng.random() < 0.1:
        records.append((None,) * len(columns))
    if rng.random() < 0.02:
        # Larger than the portions in which files are read.
        records += [(f"{n}" * 400, *["x" * 300] * (len(columns) - 1)) for n in range(1500)]
    if rng.random() < 0.5:
        rng.shuffle(records)
    places = [[name for name, _ in columns].index(column) for column in entry.columns]
    return Draft(entry, tuple(name for _, name in columns), tuple(places), tuple(records))


def spelled(rng: random.Random, name: str) -> str:
    """A header as people write it."""
    between = rng.choice(("_", " ", "-", ".", " _ ")) if rng.random() < 0.3 else None
    if between:
        name = name.replace("_", between)
    if rng.random() < 0.3:
        name = rng.choice((name.upper(), name.title()))
    return rng.choice((f" {name}", f"{name}\t", f"\u00a0{name} ")) if rng.random() < 0.05 else name
