"""Small laboratories, nasty on purpose: the same seed gives the same laboratory.

`dirt` is the share of cells that are not plain. About half of those are odd but sound (padding,
leading zeros, a time after the date), the other half break a rule. Some laboratories get special
features whatever their dirt: ids of 18 digits, text that sorts differently in every collation,
means just under a half.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from support.oracle import PLAIN, Cell, File, Formats, Lab, RejectedLine, Row, trimmed

Cells = tuple[Cell, ...]
Mode = Literal["seeds", "loads"]
MODES: tuple[Mode, ...] = ("seeds", "loads")
INPUTS = ("users", "compounds", "user_experiments")

PADDING = (" ", "\t", "\n", "\r", "\r\n", "\u00a0", "\ufeff", " \u00a0\t\ufeff ", "   ")
BLANKS = (None, "", " ", "\t", "\u00a0", "\ufeff", " \u00a0\ufeff\t\n ")
EVIL = (
    *("'", '"', '""', "'; drop table loads; --", "$$", "\\", "\\N", "\\.", "%", "%s", "%(a)s"),
    *("{{ 1/0 }}", "{% raw %}", "{# x #}", "<script>alert(1)</script>", "&amp;", "$(reboot)"),
    *("`id`",),
    *("=1+1", "@SUM(A1)", "+1", "-1", "a,b", "a;b", "a\nb", "a\tb", "a\r\nb", "a\rb", 'say "hi"'),
    *("😀", "👩‍🔬", "é", "e\u0301", "İ", "ß", "Ａ", "\ufb01", "\uffee", "\U0010ffff", "a\u00a0b"),
    *("\x01", "a\x0bb", "\x1f", "\x7f", "\x85", "\u2028", "\u200b", "\u3000", "\u202edrow"),
    *("a\ufeffb",),
    *("ChloÃ©", "SÃO", "Ã…sa", "Åsa", "Å\u00a0", "Å\u00a1", "„Ä“", "â€™", "a\nÂ°C", "Ä\u0087x"),
    *("A", "a", "B", "b", "Z", "_", "-a", "a b", "ab", "aB", "NULL", "null ", "None", "N/A"),
    *("true",),
    *("2024-01-01", "1e9", "007", "x" * 20_000),
)
BAD_IDS = (
    *("7.", "7.5", "7.01", ".0", "-1", "+1", "-0", "1e3", "0x1", "1_000", "1,0", "1 2", "1.0.0"),
    *("１", "٣", "²", "①", "1\u200b", "\u30001", "9" * 19, "0" * 18 + "1", "9" * 400, "NaN"),
    *("Infinity", "x", "1;", "1'", "1\u00a02", "true", "1/0", "1.0e0", "१", "1\x0b", "\x1f1"),
    *("1\n2", "1\n.0", "1.0\n0", "x\n1", "1\nx", "1；2", "1\u037e2", "1 .0", "1. 0", "1.0 .0"),
)
SOUND_TIMES = (
    *("0", "0.0", "000000000001", "0.0000005", "0.00000049", "0.0000015", "0.0000025", "2.5000005"),
    *("12.4999999" + "9" * 400, "12.4999994" + "9" * 400, "7." + "0" * 400 + "1", "1.000000499"),
    *("1.500", "0.500", "12.250", "123.456", "1234.567", "012.345"),
    *("999999999999", "999999999999.9999994", "999999999999.999999", "0.1" + "3" * 20_000),
)
BAD_TIMES = (
    *("999999999999.9999996", "999999999999.9999995", "1000000000000", "0000000000001", "-1", "-0"),
    *("+1", "1e3", "1E-3", ".5", "7.", "1,5", "1.2.3", "NaN", "Infinity", "-Infinity", "inf", "１"),
    *("1\n2", "1\n.5", "1.5\nx", "x\n1.5", "1 .5", "1. 5", "$1", "1%", "１2", "1.5；2", "\u202d1"),
    *("1.500,25", "1,500.25", "1.500.000", "1,500", "0,5", "-12,5", ",5", "1,", "1,2,3", "1,.5"),
    *("1.٥", "12 min", "0x10", "1_0", "1 000", "10'", "--", "9" * 400, "\u30001", "1\x0b", "1:30"),
)
CLOCKS = (
    *("T00:00", " 23:59", "T12:30:00", " 12:30:60", "T12:30:00.5", " 12:30:00,123456789"),
    *("T12:30Z",),
    *("T12:30:00+02", " 12:30:00 +0230", "T12:30-02:30", " 12:30:00.1 Z", "T12:30:00." + "1" * 400),
)
BAD_CLOCKS = (
    *("T", "T12", "T24:00", "T12:60", "T12:30:61", "t12:30", "  12:30", "T12:30:00.", "T12:30.5"),
    *("T12:30z", "T12:30  Z", "T12:30+2", "T12:30+02:", "T12:30+24", "T12:30+02:60", " 12:30 CET"),
    *("\n12:30", "\t12:30", "\u00a012:30", "T1２:30", "T12:3", "T12-30", "Z", "+02", "x"),
    *("T12:30+023",),
)
DURATIONS = (
    *("0:34:59", "00:00:00", "100:59:59", "0:00:01.000001", "0:00:01,5", "35 min", "35MIN", "2 h"),
    *("PT35M", "pt1h30m", "PT1.5H", "1h30m", "1 hr 30 mins 5 sec", "90 seconds", "1 HOUR", "0.5 h"),
    *("0,5 h", "1.500 min", "7 s", "12345678 hours", "1h 0.000001s", "3 minutes5 s"),
    *("26:15", "0:05", "90:15.5", "99999999:59"),
)
BAD_DURATIONS = (
    *("0:5:09", "0:60:00", "0:00:60", "1:2", ":30", "0:30:", "1:00:00:00", "-0:10:00", "26:75"),
    *("PT", "P1D", "PT5", "h", "5", "min 5", "5 min 1 h", "5 min 5 min", "1h1", "1  h", "h1"),
    *("1 h\u00a05 min", "5 m.", "5 hh", "1e3 s", "123456789 s", "0.0000001 s", "1..5 s", ". s"),
    *("5 µs", "5 ms", "5 ſ", "5 M\u0130N", "0:00:00.", "0:00:00.0000001", "１ h", "1:３0:00"),
)
DAYS = ("2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "1582-10-10", "2023-12-31")
BAD_DAYS = (
    *("2023-02-30", "2023-02-29", "1900-02-29", "2100-02-29", "0000-01-01", "0000-02-29"),
    *("2023-4-1",),
    *("2023-04-31", "2023-13-01", "2023-00-01", "2023-01-00", "2023-01-32", "2023-99-99"),
    *("20230101",),
    *("01/02/2023", "1.2.2023", "2023/01/01", "23-01-01", "-2023-01-01", "12023-01-01"),
    *("２023-01-01",),
    *("2023-01-1x", "2023-W01-1", "2023-001", "today", "infinity", "epoch", "now", "2023-01"),
    *("J2460000",),
    *("2023-01-01 BC", "January 1, 2023", "2023-०१-01", "2023\u201101\u201101", "2023-01-01AD"),
)
BIG_IDS = (0, 10**18 - 1, 10**18 - 2, 2**31, 2**53 + 1)


@dataclass(frozen=True)
class Maker:
    """Makes cells of every kind out of one source of chance, mostly as the formats say."""

    rng: random.Random
    dirt: float
    for_seed: bool
    formats: Formats = PLAIN

    def dirty(self, factor: float = 1.0) -> bool:
        return self.rng.random() < self.dirt * factor

    def finished(self, cell: Cell) -> Cell:
        """Padded at times, and within what the seeds' reader keeps as it is."""
        if cell is not None and self.dirty():
            left, right = self.rng.choice(("", *PADDING)), self.rng.choice(("", *PADDING))
            cell = left + cell + right
        if cell is None or not self.for_seed:
            return cell
        # dbt reads a seed with universal newlines, and takes a cell as NULL when Python, which
        # strips more than labmart trims, leaves nothing or the word null of it.
        cell = cell.replace("\r\n", "\n").replace("\r", "\n")
        lost = cell.strip().lower() in ("", "null") and trimmed(cell) is not None
        return "?" if lost else cell

    def spelled(self, number: int) -> str:
        prefixes = (*(self.formats.id_prefix or "").split(","), "")
        prefix = self.rng.choice(prefixes) if self.formats.id_prefix else ""
        if not self.dirty():
            return prefix + (self.grouped(number) if self.formats.decimal else str(number))
        zeros = "0" * self.rng.randint(0, 18 - len(str(number)))
        decimals = self.rng.choice(("", "", ".0", ".00", ".000", ",0", "." + "0" * 40))
        return prefix + zeros + str(number) + decimals

    def grouped(self, number: int) -> str:
        """The number, at times with marks between thousands."""
        mark = "." if self.formats.decimal == "comma" else ","
        return f"{number:,}".replace(",", mark) if self.rng.random() < 0.5 else str(number)

    def id_cell(self, number: int) -> Cell:
        if self.dirty(0.3):
            return self.finished(self.rng.choice((*BAD_IDS, *EVIL, *BLANKS)))
        return self.finished(self.spelled(number))

    def text(self, plain: str) -> Cell:
        return self.finished(self.rng.choice((*EVIL, *BLANKS)) if self.dirty() else plain)

    def run_time(self) -> Cell:
        if self.dirty(0.3):
            return self.finished(self.rng.choice((*BAD_TIMES, *BLANKS, *EVIL)))
        if self.formats.durations and self.rng.random() < 0.5:
            return self.finished(self.rng.choice((*DURATIONS, *DURATIONS, *BAD_DURATIONS)))
        if self.dirty(0.5):
            return self.finished(self.rng.choice((*SOUND_TIMES, *DURATIONS)))
        decimals = self.rng.choice(("", ".5", ".25", ".333333", ".1234565", ".125"))
        whole = self.rng.choice((120, 120, 3000)) * self.rng.random()
        if not self.formats.decimal:
            return self.finished(f"{int(whole)}{decimals}")
        if self.formats.decimal == "comma":
            decimals = decimals.replace(".", ",")
        return self.finished(self.grouped(int(whole)) + decimals)

    def date(self) -> Cell:
        if self.dirty(0.3):
            return self.finished(self.rng.choice((*BAD_DAYS, *BLANKS, *EVIL)))
        year, month, in_month = (
            self.rng.randint(*ends) for ends in ((1990, 2030), (1, 12), (1, 28))
        )
        day = f"{year}-{month:02d}-{in_month:02d}"
        if self.formats.dates and self.rng.random() < 0.8:
            width = self.rng.choice(("02d", "d"))
            parts = {"Y": f"{year}", "M": f"{month:{width}}", "D": f"{in_month:{width}}"}
            order = self.rng.choice((self.formats.dates, self.formats.dates, "DMY", "MDY", "YMD"))
            day = self.rng.choice("./-").join(parts[part] for part in order)
            day += self.rng.choice(
                ("", "", " 8:30", " 08:30:59", " 8:30 PM", " 8:61", " 1:30pm", "x")
            )
        if self.dirty(0.5):
            clock = self.rng.choice(CLOCKS if self.rng.random() < 0.6 else BAD_CLOCKS)
            day = self.rng.choice((day, *DAYS)) + clock
        return self.finished(day)

    def compound_list(self, compounds: list[int]) -> Cell:
        if self.dirty(0.15):
            return self.finished(self.rng.choice((*BLANKS, *EVIL, ";", " ; ", ";;;", "x;;-1")))
        size = 40 if self.dirty(0.03) else self.rng.randint(1, 4)
        numbers = [self.rng.choice(compounds) for _ in range(size)]
        if self.dirty(0.3):
            numbers.append(self.rng.choice((numbers[0], 424242, 10**18 - 3)))
        items = [self.spelled(number) for number in numbers]
        for odd in (self.rng.choice(BAD_IDS), "", " ", "\u00a0", "2;02;2.0", self.rng.choice(EVIL)):
            if self.dirty(0.1):
                items.insert(self.rng.randint(0, len(items)), odd)
        padded = (self.finished(item) or "" if self.dirty(0.3) else item for item in items)
        separator = self.formats.list_separator or ";"
        if self.dirty(0.05):
            separator = self.rng.choice((";", ",", separator))
        return self.finished(separator.join(padded))


def ids(rng: random.Random, count: int) -> list[int]:
    """Mostly 1, 2, 3 and so on; at times ids at the edges of the types."""
    extra = rng.sample(BIG_IDS, rng.randint(1, 3)) if rng.random() < 0.4 else []
    return [*range(1, count + 1), *extra]


def rows_of(
    make: Maker, name: str, keys: list[int], users: list[int], compounds: list[int]
) -> list[Cells]:
    """One row per key, then some keys again: the very same row or another one."""
    rng = make.rng
    rows: list[Cells] = []
    again = [rng.choice(keys) for key in keys if keys and make.dirty(0.15)]
    row: Cells
    for key in (*keys, *again):
        own = make.id_cell(key)
        if name == "users":
            mail = make.text(f"user{key}@example.org")
            row = (own, make.text(f"User {key}"), mail, make.date())
        elif name == "compounds":
            row = (own, make.text(f"Compound {key}"), make.text(f"C{key % 40 + 1}H6"))
        else:
            # Squared chance makes some users busy; a few experiments name a user of nowhere.
            user = users[int(rng.random() ** 2 * len(users))]
            user = 777_777 if make.dirty(0.05) else user
            row = (own, make.id_cell(user), make.compound_list(compounds), make.run_time())
        rows.append(row)
    rows += [rng.choice(rows) for row in rows if make.dirty(0.05)]
    rng.shuffle(rows)
    return rows


def half_way_rows(rng: random.Random, user: int, wanted: int) -> list[Cells]:
    """201 long experiments; their mean is `wanted`/201 of a millionth above a whole millionth.

    100 is just under the half and 101 just over it, but only beyond the digits that an engine
    may keep of so great a mean.
    """
    base = 999_999_999_000 * 10**6
    times = [base + rng.randint(0, 10**6) for _ in range(200)]
    times.append(base + (wanted - sum(times) - base) % 201)
    cells = [f"{time // 10**6}.{time % 10**6:06d}" for time in times]
    return [(str(10**6 * user + n), str(user), "1;2", cell) for n, cell in enumerate(cells)]


def catalogue_lab(mode: Mode) -> Lab:
    """Every odd value of this module in every kind of cell, once and alone."""
    rng = random.Random(f"catalogue {mode}")
    texts = (*EVIL, *BLANKS)
    dates = [day + clock for day in DAYS for clock in ("", *CLOCKS, *BAD_CLOCKS)]
    odd_dates = (*dates, *BAD_DAYS, *texts)
    users: list[Cells] = [(str(n), f"u{n}", None, date) for n, date in enumerate(odd_dates)]
    users += [(bad, "x", None, None) for bad in (*BAD_IDS, *texts)]
    # The same user twice, with names whose order depends on how one compares.
    pairs = [pair for n, text in enumerate(texts) for pair in ((n, text), (n, rng.choice(texts)))]
    users += [(f"{10**5 + n}", text, None, None) for n, text in pairs]
    compounds: list[Cells] = [(f"00{n}.0", f"c{n}", text) for n, text in enumerate(texts)]
    compounds += [(bad, None, None) for bad in BAD_IDS]
    cells: list[Cells] = [("1", "1", time) for time in (*SOUND_TIMES, *BAD_TIMES, *texts)]
    cells += [(bad, "1", "1") for bad in (*BAD_IDS, *texts)]
    cells += [("1", f"1;{bad};2", "1") for bad in (*BAD_IDS, *EVIL)]
    cells += [
        ("1", ids_, "1") for ids_ in (*texts, ";", " ; ", ";;", "1;", ";1", "2;2", "2;02;2.0")
    ]
    experiments: list[Cells] = [(f"{n}.00", *row) for n, row in enumerate(cells)]
    experiments += [*half_way_rows(rng, 3, 100), *half_way_rows(rng, 4, 101)]
    tables = {"users": users, "compounds": compounds, "user_experiments": experiments}
    files: list[File] = []
    for load_id, name in enumerate(INPUTS, start=1):
        make = Maker(rng, 0, for_seed=mode == "seeds")
        rows = [tuple(make.finished(cell) for cell in row) for row in tables[name]]
        rng.shuffle(rows)
        lines = range(2, len(rows) + 2) if mode == "loads" else [None] * len(rows)
        numbered = tuple(Row(line, row) for line, row in zip(lines, rows, strict=True))
        if mode == "loads":
            files.append(File(name, load_id, f"{name}.csv", "current", numbered))
            files.append(File(name, None, f"seeds/raw_{name}.csv", "current", ()))
        else:
            files.append(File(name, None, f"seeds/raw_{name}.csv", "current", numbered))
    if mode == "loads":
        spoken = ((None, "s"), ("point", "h,h:mm"), ("comma", "min,m:ss"), (None, "h"))
        for load_id, (decimal, durations) in enumerate(spoken, start=10):
            numbered = tuple(
                Row(n, (f"{load_id * 10**6 + n}", "1", "1", cell))
                for n, cell in enumerate((*DURATIONS, *BAD_DURATIONS), 2)
            )
            said = Formats(decimal=decimal, durations=durations)
            files.append(
                File("user_experiments", load_id, f"{load_id}.csv", "current", numbered, (), said)
            )
    return Lab(tuple(files))


def random_lab(seed: int, *, mode: Mode = "seeds", dirt: float = 0.3) -> Lab:
    """A laboratory of 10 to 60 users, up to 300 experiments and 15 compounds.

    Mode `seeds` has three seeds; mode `loads` has small seeds too, which the loads put aside
    unless none of them is current.
    """
    rng = random.Random(f"{seed} {mode} {dirt}")
    users, compounds = ids(rng, rng.randint(10, 57)), ids(rng, rng.randint(1, 12))
    experiments = ids(rng, rng.choice((0, 5, 30, 100, 300)) if rng.random() < 0.5 else 60)
    keys = {"users": users, "compounds": compounds, "user_experiments": experiments}
    if mode == "loads":
        decoys = {"users": [1, 2], "compounds": [1], "user_experiments": [1, 2, 3]}
        return Lab((*seeds(rng, dirt, decoys), *loads(rng, dirt, keys)))
    return Lab(tuple(seeds(rng, dirt, keys)))


def seeds(rng: random.Random, dirt: float, keys: dict[str, list[int]]) -> list[File]:
    make = Maker(rng, dirt, for_seed=True)
    files = []
    for name in INPUTS:
        mine = [] if make.dirty(0.02) else keys[name]
        rows = rows_of(make, name, mine, keys["users"], keys["compounds"])
        if name == "user_experiments" and rng.random() < 0.1:
            rows += half_way_rows(rng, keys["users"][0], rng.randint(99, 102))
        cells = tuple(Row(None, row) for row in rows)
        files.append(File(name, None, f"seeds/raw_{name}.csv", "current", cells))
    return files


def loads(rng: random.Random, dirt: float, keys: dict[str, list[int]]) -> list[File]:
    """Every input in some files of overlapping keys, in any order of arrival and state."""
    make = Maker(rng, dirt, for_seed=False)
    parts: list[tuple[str, list[int]]] = []
    titles: list[str] = []
    for name in INPUTS:
        if make.dirty(0.05):
            continue
        mine = rng.sample(keys[name], len(keys[name]))
        cuts = sorted(rng.randint(0, len(mine)) for _ in range(rng.randint(0, 3)))
        for start, end in pairwise((0, *cuts, len(mine))):
            old = rng.sample(mine[:start], min(start, rng.randint(0, 20)))
            parts.append((name, mine[start:end] + old))
    rng.shuffle(parts)
    ids_ = sorted(rng.sample(range(1, 10_000), len(parts)))
    all_gone = rng.random() < 0.05
    files: list[File] = []
    for load_id, (name, mine) in zip(ids_, parts, strict=True):
        make = Maker(rng, dirt, for_seed=False, formats=formats(rng))
        rows = rows_of(make, name, mine, keys["users"], keys["compounds"])
        # The same export in another form, with what was wrong in it.
        earlier = [file for file in files if file.input == name]
        if earlier and rng.random() < 0.3:
            rows += [row.cells for row in rng.choice(earlier).rows if make.dirty(2)]
        if name == "user_experiments" and rng.random() < 0.05:
            rows += half_way_rows(rng, keys["users"][0], rng.randint(99, 102))
        lines = sorted(rng.sample(range(2, 3 + 2 * len(rows) + 5), len(rows) + 3))
        bad_lines = sorted(rng.sample(lines, 3))
        good = [line for line in lines if line not in bad_lines]
        status = "current" if rng.random() < 0.8 and not all_gone else ""
        status = status or rng.choice(("superseded", "reverted"))
        rejected = [rejected_line(make, line) for line in bad_lines if make.dirty()]
        title = f"{name}_{load_id}" + rng.choice((".csv", " (1).tsv", '/Ä "x", 1.csv'))
        # A corrected file comes under its earlier name.
        title = rng.choice(titles) if titles and rng.random() < 0.3 else title
        titles.append(title)
        numbered = tuple(Row(line, row) for line, row in zip(good, rows, strict=True))
        # Now and then it is another sheet of the workbook before.
        sheets = [file for file in earlier if file.workbook]
        workbook = sheets[-1].workbook if sheets and rng.random() < 0.5 else load_id
        said = make.formats
        files.append(File(name, load_id, title, status, numbered, tuple(rejected), said, workbook))
    return files


def formats(rng: random.Random) -> Formats:
    """What somebody said of a file; mostly nothing."""
    if rng.random() < 0.5:
        return PLAIN
    return Formats(
        decimal=rng.choice((None, None, "comma", "point")),
        dates=rng.choice((None, "DMY", "MDY", "YMD")),
        list_separator=rng.choice((None, None, ",", " ", "|", ".")),
        id_prefix=rng.choice((None, None, "EXP-", "U,C", "v.", "#:/,Ä 2-,É")),
        durations=rng.choice((None, "s", "min", "h", "s,m:ss", "min,h:mm", "h,h:mm", "h,m:ss")),
    )


def rejected_line(make: Maker, line: int) -> RejectedLine:
    rules = ("wrong_column_count", "broken_quoting", "undecodable", "nul_byte", "swallowed_records")
    content = make.rng.choice(("1,2,3,4,5,6", '"', "1,\\x00", '7,"a', *EVIL))
    return RejectedLine(line, make.rng.choice(rules), "for a test", content)
