"""What "nothing is lost" means, as a figure: every record that was written, and its fate.

    PYTHONPATH=.:tests/python python -m support.accounts --lines 1000000

Files of people are written, legal by RFC 4180 with line ends, delimiters and quotation marks in
their cells, then stacked under headers of their own, sorted, or damaged line by line. Each record
must be read to the letter, be rejected with its line, stand in the lines that a warning names, or
its file be refused. Whatever is read must have been written: nothing is made up.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from dataclasses import dataclass, field

from support.copy_text import BLANKS, Cells, said_by
from support.corpora import NAMES, read

_HEADERS = (
    ("user_id", "UID", "User ID", "id-user"),
    ("name", "Full Name", "user name"),
    ("email", "E-Mail", "mail"),
    ("signup_date", "Signup", "signed up"),
)
_SIGNS = "ab1, \"\n\r;\t'\\=é-|:."
_TEXTS = (
    *("a,b,c,d", "x\n5,Eve,e,2023-01-01\ny", "C:\\", 'say "hi"', '"', "'t", "one\r\ntwo"),
    *("user_id,name,email,signup_date", "1;2", '\\"', '"\n"', ",,,\n,,,", "Ada", "Béla", "7"),
)
_OTHER = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n1,1,1;2,5\n"
KINDS = ("legal", "legal", "stacked", "other table", "sorted", "damaged")


@dataclass
class File:
    """A file as it was written: its text, and each record with its first and last line."""

    data: bytearray = field(default_factory=bytearray)
    line: int = 1
    records: list[tuple[int, int, Cells]] = field(default_factory=list)
    must_be_refused: bool = False

    def write(self, text: str | bytes) -> int:
        """Append a line, or a record of some more; the number of its first."""
        data = text if isinstance(text, bytes) else text.encode()
        first, self.line = self.line, self.line + len(re.findall(rb"\r\n|\r|\n", data)) + 1
        self.data += data + b"\n"
        return first


def written(rng: random.Random, kind: str, rows: int) -> File:
    """A random file of a kind with so many records."""
    file = File()
    order = rng.sample(range(4), 4) if kind != "sorted" else [0, 1, 2, 3]
    plain = kind in ("sorted", "damaged")
    people = [_person(rng, number, plain=plain) for number in range(1, rows + 1)]
    at_header = set(rng.sample(range(rows), min(rows, rng.randint(1, 3)))) | {0}
    if kind == "sorted":
        # The header comes somewhere behind the first record, as when lines are sorted.
        at_header = {rng.randint(1, min(rows, 60))}
        file.must_be_refused = True
    elif kind != "stacked":
        at_header = {0}
    for number, person in enumerate(people):
        if number in at_header:
            order = rng.sample(range(4), 4) if kind == "stacked" else order
            file.write(",".join(rng.choice(_HEADERS[at]) for at in order))
        cells = [_cell(rng, person[at] or "") for at in order]
        text: str | bytes = ",".join(cells)
        if kind == "damaged" and rng.random() < 0.03:
            text = _damaged(rng, str(text))
        first = file.write(text)
        file.records.append((first, file.line - 1, person))
    if kind == "sorted" and rows in at_header:
        file.write(",".join(NAMES))
    if kind == "other table":
        file.must_be_refused = True
        file.write(_OTHER)
    return file


def _person(rng: random.Random, number: int, *, plain: bool) -> Cells:
    if plain:
        return (str(number), f"Person {number}", f"p{number}@lab.example", "2023-01-01")
    return (str(number), _text(rng), _text(rng), rng.choice(("2023-01-01", "", _text(rng))))


def _text(rng: random.Random) -> str:
    if rng.random() < 0.5:
        return rng.choice(_TEXTS)
    return "".join(rng.choice(_SIGNS) for _ in range(rng.choice((0, 1, 2, 5, 12))))


def _cell(rng: random.Random, text: str) -> str:
    """A cell as RFC 4180 has it."""
    if any(sign in text for sign in ',"\r\n') or rng.random() < 0.2:
        return '"' + text.replace('"', '""') + '"'
    return text


def _damaged(rng: random.Random, line: str) -> str | bytes:
    cells = line.split(",")
    at = rng.randrange(1, len(line))
    damages: list[str | bytes] = [
        ",".join(cells[:-1]),
        ",".join([*cells, "more"]),
        line.replace(",", ',"', 1),
        f"{line[:at]}\0{line[at:]}",
        line.encode()[:at] + b"\xff\xfe" + line.encode()[at:],
        line.replace(",", ",,", 1),
        line.rpartition(",")[0] + ',"' + line.rpartition(",")[2],
    ]
    return rng.choice(damages)


def account(rng: random.Random, kind: str, rows: int) -> Counter[str]:
    """Write a file, read it, and count its records by fate; "lost" and "made up" are wrong."""
    file = written(rng, kind, rows)
    found, problems = read(bytes(file.data))
    fates = Counter({"files": 1, "lines": file.line - 1, "records": len(file.records)})
    if problems:
        is_told = file.must_be_refused and re.search(r"line \d+", problems[0])
        fates["refused with their file" if is_told else "lost"] += len(file.records)
        return fates
    if file.must_be_refused:
        fates["lost"] += len(file.records)
        return fates
    (table,) = found
    names = table.parser.columns
    order = [NAMES.index(name) for name in NAMES if name in names]
    is_read = dict(table.rows)
    rejected = {line.line for line in table.rejected}
    warned = [
        range(int(first), int(last) + 1)
        for note in table.parser.notes
        if note.startswith("warning")
        for first, last in re.findall(r"(\d+) to (\d+)", note)
    ]
    for first, last, person in file.records:
        wanted = tuple(said_by(person[at] or "").strip(BLANKS) or None for at in order)
        lines = range(first, last + 1)
        if is_read.pop(first, None) == wanted:
            fates["read to the letter"] += 1
        elif rejected.issuperset({first}):
            fates["rejected with their line"] += 1
        elif any(line in span for span in warned for line in lines):
            fates["in lines that a warning names"] += 1
        else:
            fates["lost"] += 1
    fates["made up"] += len(is_read)
    return fates


def account_of(lines: int, seed: int) -> Counter[str]:
    """The account of random files of all kinds with at least so many lines."""
    rng = random.Random(seed)
    total: Counter[str] = Counter()
    while total["lines"] < lines:
        kind = rng.choice(KINDS)
        total += account(rng, kind, rng.choice((3, 40, 900)))
    return total


def main() -> None:
    """Print the account of a million lines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    fates = account_of(given.lines, given.seed)
    for fate in dict.fromkeys([*fates, "lost", "made up"]):
        print(f"{fates[fate]:>12,} {fate}")


if __name__ == "__main__":
    main()
