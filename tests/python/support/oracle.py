"""All marts of a laboratory, calculated a second time, in plain Python.

This is the oracle of the tests: written from the words of the design and never from the SQL, so
that the two can only agree by both being right. It is slow and simple on purpose.

A :class:`Lab` goes in; :func:`marts` gives every mart as a list of rows, column names to values.

Times are whole millionths of the unit in the file until the very end: integers cannot round by
surprise. No float occurs, and nothing that reads more than ASCII digits (``\\d``, ``str.isdigit``).
"""

from __future__ import annotations

import datetime
import re
from collections import Counter, defaultdict
from collections.abc import Container, Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import NamedTuple

Cell = str | None
Value = str | int | Decimal | datetime.date | None
Error = tuple[str, str, Cell]  # rule, column, value
Listing = tuple[int, int, int]  # user, compound, experiment: one per item of a list

OWN_ID = {"users": "user_id", "user_experiments": "experiment_id", "compounds": "compound_id"}
MARTS = {
    "users": "user_id name email signup_date load_id line",
    "compounds": "compound_id compound_name compound_structure load_id line",
    "experiments": "experiment_id user_id run_time compounds_listed load_id line",
    "experiment_compounds": "experiment_id position compound_id is_known",
    "user_compound_usage": "user_id compound_id compound_name times_listed experiments usage_rank"
    " is_most_consumed",
    "compound_usage": "compound_id compound_name compound_structure users experiments times_listed"
    " total_run_time",
    "user_features": "user_id total_exp_per_user avg_experiment_count avg_exp_time_per_user"
    " most_consumed_compound most_consumed_compound_name most_consumed_compounds"
    " most_consumed_compound_count distinct_compounds total_exp_time_per_user"
    " avg_experiments_per_active_user user_name signup_date",
    "input_issues": "rule severity input load_id file line record_key column_name value status"
    " resolved_by_load_id",
    "issue_counts": "input load_id file rule severity column_name open_issues resolved_issues"
    " unreadable_cells filled_cells",
    "input_reconciliation": "input load_id file records_read rejected_lines rejected_rows"
    " superseded_rows accepted_rows",
}
TRIMMED = " \t\r\n\u00a0\ufeff"
MILLION = 10**6


@dataclass(frozen=True)
class Row:
    """One record as the file has it. `line` is None in a seed, `cells` are in column order."""

    line: int | None
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class RejectedLine:
    """A line that no loader could split into cells, or a record that may have swallowed others."""

    line: int
    rule: str
    detail: str
    content: str


class Formats(NamedTuple):
    """What was said of a load's numbers (comma, point), dates (DMY, MDY, YMD), lists and ids.

    `durations` is a unit (s, min, h), behind a comma what `26:15` is: h:mm or m:ss.
    """

    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None


PLAIN = Formats()


@dataclass(frozen=True)
class File:
    """One seed (`load_id` None) or one load; `status` is current, superseded or reverted.

    Sheets of one workbook have the same `workbook`, the load_id of the first of them.
    """

    input: str
    load_id: int | None
    name: str
    status: str
    rows: tuple[Row, ...]
    rejected: tuple[RejectedLine, ...] = ()
    formats: Formats = PLAIN
    workbook: int | None = None


@dataclass(frozen=True)
class Lab:
    """Everything that was ever put into one database."""

    files: tuple[File, ...]


@dataclass(frozen=True)
class Judged:
    """A row with its trimmed cells, its own id as `key`, and what became of it.

    `superseded_by` is the row that took the place of a superseded one.
    """

    file: File
    line: int | None
    cells: tuple[Cell, ...]
    key: int | None
    error: Error | None
    fate: str
    superseded_by: Judged | None = None


def trimmed(cell: Cell) -> Cell:
    return (cell or "").strip(TRIMMED) or None


def shows_thousands(text: str, *, is_id: bool) -> bool:
    """Whether a mark in this number groups thousands, or is a comma that may be a decimal one."""
    signless = text[1:] if text[:1] in ("+", "-") else text
    if "," in signless:
        return (
            not signless.strip("0123456789.,")
            and signless[0] in "0123456789"
            and any(a in "0123456789." and b in "0123456789" for a, b in sides_of(signless, ","))
        )
    return is_grouped(text, ".") and (text.count(".") > 1 or (is_id and text[-3:] != "000"))


def sides_of(text: str, mark: str) -> list[tuple[str, str]]:
    """The characters before and behind each mark that has both."""
    places = [at for at, sign in enumerate(text) if sign == mark]
    return [(text[at - 1], text[at + 1]) for at in places if 0 < at < len(text) - 1]


def is_grouped(text: str, mark: str) -> bool:
    """`1.500`, `12.000.000`: one to three digits, then threes."""
    first, *threes = text.split(mark)
    whole = all(part and not part.strip("0123456789") for part in (first, *threes))
    sizes = len(first) <= 3 and {len(part) for part in threes} == {3}
    return whole and sizes and first[0] != "0"


def plain_number(text: Cell, numbers: str | None) -> Cell:
    """The number with a decimal point and no other mark; None if it may be two, or is none."""
    if text is None or numbers is None:
        return text
    if numbers == "unclear":
        return None if text.count(".") == 1 and is_grouped(text, ".") else text
    decimal, thousands = (",", ".") if numbers == "comma" else (".", ",")
    whole, mark, decimals = text.partition(decimal)
    if (mark and not decimals) or decimals.strip("0123456789"):
        return None
    if is_grouped(whole, thousands):
        whole = whole.replace(thousands, "")
    if not whole or whole.strip("0123456789"):
        return None
    return f"{whole}.{decimals}" if mark else whole


def without_prefix(text: Cell, id_prefix: str | None) -> Cell:
    """An id's digits, where one of the prefixes stands right before them."""
    for prefix in (id_prefix or "").split(","):
        rest = (text or "").removeprefix(prefix)
        if prefix and text and text.startswith(prefix) and rest[:1] in tuple("0123456789"):
            return rest
    return text


def parse_id(text: Cell, numbers: str | None = None, prefix: str | None = None) -> int | None:
    """`7`, `007`, `7.0`; at most 18 digits before the point."""
    plain = plain_number(without_prefix(text, prefix), numbers)
    match = re.fullmatch(r"([0-9]{1,18})(\.0+)?", plain or "")
    return int(match[1]) if match else None


UNITS = {
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1),
}


def parse_duration(text: str, numbers: str | None, durations: str) -> int | None:
    """Millionths of the unit, rounded half up, of `0:34:59`, `1 h 5 min` or `PT35M`."""
    unit, _, clock = durations.partition(",")
    if "." in text and numbers in ("comma", "unclear"):
        return None
    if numbers == "comma":
        text = text.replace(",", ".")
    whole, _, _ = text.partition(".")
    colons = whole.count(":")
    if colons:
        if colons > 2 or (colons == 1 and not clock):
            return None
        if colons == 1 and clock == "h:mm" and "." in text:
            return None
        units = ["h", "m", "s"] if colons == 2 else ["h", "m"] if clock == "h:mm" else ["m", "s"]
        fields = text.split(":")
        if any(not re.match("[0-5][0-9](?![0-9])", field) for field in fields[1:]):
            return None
        found = list(zip(fields, units, strict=True))
    else:
        small = "".join(chr(ord(c) + 32) if "A" <= c <= "Z" else c for c in text)
        small = small.removeprefix("pt")
        found = re.findall(r" ?([0-9.]+) ?([a-z]+)", small)
        if "".join(re.findall(r" ?[0-9.]+ ?[a-z]+", small)) != small or small[:1] == " ":
            return None
    sizes = [UNITS.get(name, 0) for _, name in found]
    if not found or 0 in sizes or sizes != sorted(set(sizes), reverse=True):
        return None
    total = 0
    for (number, _), size in zip(found, sizes, strict=True):
        match = re.fullmatch(r"([0-9]{1,8})(?:[.]([0-9]{1,6}))?", number)
        if match is None:
            return None
        total += size * (int(match[1]) * MILLION + int((match[2] or "").ljust(6, "0")))
    return (2 * total + UNITS[unit]) // (2 * UNITS[unit])


def parse_run_time(
    text: Cell, numbers: str | None = None, durations: str | None = None
) -> int | None:
    """Millionths, rounded half up; None too for a value that rounds to 10^12."""
    if text and durations and (duration := parse_duration(text, numbers, durations)) is not None:
        return duration
    match = re.fullmatch(r"([0-9]{1,12})(?:\.([0-9]+))?", plain_number(text, numbers) or "")
    if match is None:
        return None
    decimals = (match[2] or "") + "0000000"
    millionths = int(match[1]) * MILLION + int(decimals[:6])
    if decimals[6] in "56789":
        millionths += 1
    return millionths if millionths < 10**12 * MILLION else None


def parse_date(text: Cell, order: str | None = None) -> datetime.date | None:
    """A calendar day of the years 1 to 9999; a time after it must be well written, then goes."""
    offset = r" ?(?:Z|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)"
    seconds = r":(?:[0-5][0-9]|60)(?:[.,][0-9]+)?"
    time = rf"[T ](?:[01][0-9]|2[0-3]):[0-5][0-9](?:{seconds})?(?:{offset})?"
    match = re.fullmatch(rf"([0-9]{{4}})-([0-9]{{2}})-([0-9]{{2}})(?:{time})?", text or "")
    parts = dict(zip("YMD", match.groups(), strict=True)) if match else {}
    if not match and order:
        digits = {"Y": "[0-9]{4}", "M": "[0-9]{1,2}", "D": "[0-9]{1,2}"}
        clock = r"(?: [0-9]{1,2}:[0-5][0-9](?::[0-5][0-9](?:[.,][0-9]+)?)?(?: ?[AaPp][Mm])?)?"
        for mark in ("[.]", "/", "-"):
            day = mark.join(f"(?P<{part}>{digits[part]})" for part in order)
            if said := re.fullmatch(day + clock, text or ""):
                parts = said.groupdict()
    try:
        return datetime.date(int(parts["Y"]), int(parts["M"]), int(parts["D"]))
    except (KeyError, ValueError):
        return None


def list_items(text: Cell, separator: str | None = None) -> list[tuple[int, str]]:
    """The items that are not empty, with their positions; an empty item counts as a position."""
    items = enumerate((text or "").split(separator or ";"), start=1)
    return [(position, item) for position, raw in items if (item := trimmed(raw))]


def listed_ids(text: Cell, numbers: str | None, said: Formats) -> list[tuple[int, str, int | None]]:
    """The items with their ids. Among several, one with a point is none if it may be thousands."""
    several = (said.list_separator or ";") in (text or "")
    found = []
    for position, item in list_items(text, said.list_separator):
        bare = without_prefix(item, said.id_prefix)
        doubtful = several and numbers in ("comma", "unclear") and "." in (bare or "")
        item_id = None if doubtful else parse_id(bare, None if several else numbers)
        found.append((position, item, item_id))
    return found


@cache
def numbers_of(file: File) -> str | None:
    """How a file writes numbers: what was said; unclear where a mark may group thousands."""
    columns = {"users": {0: True}, "compounds": {0: True}}
    is_id = columns.get(file.input, {0: True, 1: True, 3: False})
    seen = any(
        shows_thousands(trimmed(row.cells[at]) or "", is_id=is_id[at])
        for row in file.rows
        for at in is_id
    )
    return file.formats.decimal or ("unclear" if seen else None)


def six_decimals(millionths: int) -> Decimal:
    return Decimal(f"{millionths // MILLION}.{millionths % MILLION:06d}")


def mean(millionths: int, count: int) -> Decimal | None:
    """Rounded half up, exactly; None of nothing."""
    return six_decimals((2 * millionths + count) // (2 * count)) if count else None


def lost_lines(file: File) -> int:
    """How many lines are no records: not those that are read, but doubted."""
    return sum(line.rule != "swallowed_records" for line in file.rejected)


def visible_files(lab: Lab) -> list[File]:
    """The current loads; the seeds only when there is none."""
    loads = [f for f in lab.files if f.load_id is not None and f.status == "current"]
    return loads or [f for f in lab.files if f.load_id is None]


def id_in(file: File, cell: Cell) -> int | None:
    """The id that a trimmed cell of the file is."""
    return parse_id(cell, numbers_of(file), file.formats.id_prefix)


def run_time_in(file: File, cell: Cell) -> int | None:
    """The run time that a trimmed cell of the file is, in millionths."""
    return parse_run_time(cell, numbers_of(file), file.formats.durations)


def error_of(file: File, cells: tuple[Cell, ...], users: Container[int]) -> Error | None:
    """The first error of a row that shows without looking at its duplicates."""
    if id_in(file, cells[0]) is None:
        return ("invalid_id" if cells[0] else "missing_id", OWN_ID[file.input], cells[0])
    if file.input != "user_experiments":
        return None
    user = id_in(file, cells[1])
    if user is None:
        return ("invalid_user" if cells[1] else "missing_user", "user_id", cells[1])
    return None if user in users else ("unknown_user", "user_id", cells[1])


def judge(files: Iterable[File], name: str, users: Container[int] = ()) -> list[Judged]:
    """Every row of the input with its one fate: accepted, rejected or superseded."""
    judged: list[Judged] = []
    sound: dict[int, list[Judged]] = defaultdict(list)
    for file in (f for f in files if f.input == name):
        for row in file.rows:
            cells = tuple(trimmed(cell) for cell in row.cells)
            error, key = error_of(file, cells, users), id_in(file, cells[0])
            found = Judged(file, row.line, cells, key, error, "rejected")
            if error is None and key is not None:
                sound[key].append(found)
            else:
                judged.append(found)
    for rows in sound.values():
        # The newest load first; within a load the first line, within a seed the smallest cells.
        rows.sort(key=lambda r: (-(r.file.load_id or 0), r.line or 0, [c or "" for c in r.cells]))
        last: Judged | None = None
        for r in rows:
            if last and last.file.load_id == r.file.load_id:
                judged.append(replace(r, error=("duplicate_id", OWN_ID[name], r.cells[0])))
                continue
            fate = "superseded" if last else "accepted"
            last = replace(r, fate=fate, superseded_by=last)
            judged.append(last)
    return judged


def accepted(rows: Iterable[Judged]) -> dict[int, Judged]:
    """Accepted rows by key, the smallest key first."""
    found = {r.key: r for r in rows if r.fate == "accepted" and r.key is not None}
    return {key: found[key] for key in sorted(found)}


SIGNS = set("€‚ƒ…†‡ˆ‰Š‹Œ•˜™š›œžŸŽ") | {chr(n) for n in (*range(0x80, 0xA0), *range(0xA1, 0xC0))}
GARBLED = {
    "Ã": SIGNS | set("\u00a0„‘’“”–—"),
    "Â": SIGNS | set("\u00a0„‘’“”–—"),
    "Ä": SIGNS,
    "Å": SIGNS,
    "â": {"€"},
}


def is_garbled(text: str) -> bool:
    """Whether a pair of characters is what UTF-8 becomes in Windows-1252."""
    return any(second in GARBLED.get(first, ()) for first, second in pairwise(text))


def lost_to_a_sheet(row: Judged, winner: Judged) -> bool:
    """Whether an accepted row of the same workbook says something else of the key."""
    workbook = row.file.workbook
    if winner.fate != "accepted" or workbook is None or workbook != winner.file.workbook:
        return False

    def content(judged: Judged) -> object:
        if judged.file.input != "user_experiments":
            return judged.cells[1:]
        numbers, said = numbers_of(judged.file), judged.file.formats
        listed = listed_ids(judged.cells[2], numbers, said)
        ids = [(position, item_id) for position, _, item_id in listed if item_id is not None]
        size = len((judged.cells[2] or "").split(said.list_separator or ";"))
        # nothing is left of a list of one item that is none; else each item has its place
        places = size if ids or size > 1 else 0
        return (
            id_in(judged.file, judged.cells[1]),
            run_time_in(judged.file, judged.cells[3]),
            ids,
            places,
        )

    return content(row) != content(winner)


def warnings(row: Judged, compounds: Container[int]) -> list[Error]:
    """Everything odd about an accepted row, or about one that another sheet superseded."""
    found: list[Error] = []
    if row.fate == "superseded":
        winner = row.superseded_by
        if winner and lost_to_a_sheet(row, winner):
            found.append(("id_in_two_sheets", OWN_ID[row.file.input], row.cells[0]))
        return found
    said, numbers = row.file.formats, numbers_of(row.file)
    if row.file.input != "user_experiments" and is_garbled(row.cells[1] or ""):
        column = "name" if row.file.input == "users" else "compound_name"
        found.append(("garbled_text", column, row.cells[1]))
    if row.file.input == "users" and row.cells[3] and parse_date(row.cells[3], said.dates) is None:
        found.append(("invalid_signup_date", "signup_date", row.cells[3]))
    if row.file.input == "user_experiments":
        ids, run_time = row.cells[2], row.cells[3]
        if run_time_in(row.file, run_time) is None:
            rule = "invalid_run_time" if run_time else "missing_run_time"
            found.append((rule, "experiment_run_time", run_time))
        items = listed_ids(ids, numbers, said)
        if not items:
            found.append(("missing_compounds", "experiment_compound_ids", ids))
        for _, item, compound in items:
            if compound is None:
                found.append(("invalid_compound_id", "experiment_compound_ids", item))
            elif compound not in compounds:
                found.append(("unknown_compound", "experiment_compound_ids", item))
    return found


def resolver(row: Judged, files: list[File], judged: list[Judged]) -> int | None:
    """The newer load that settles the error of a row: None while it is open."""
    own = row.file.load_id or 0
    newer = [r for r in judged if (r.file.load_id or 0) > own]
    if row.key is not None:
        same = [r for r in newer if r.key == row.key]
        good = [r.file.load_id for r in same if r.fate == "accepted"]
        bad = [r.file.load_id or 0 for r in same if r.fate == "rejected"]
        return good[0] if good else max(bad, default=None)
    like = [r.file.load_id or 0 for r in newer if r.key is None and read_alike(r, row)]
    return max(like, default=None) or newer_file(row.file, files)


def read_alike(one: Judged, other: Judged) -> bool:
    """Whether two rows without an id have the same cells; a run time is its value."""

    def cells(row: Judged) -> list[object]:
        found: list[object] = list(row.cells)
        if row.file.input == "user_experiments":
            known = run_time_in(row.file, row.cells[3])
            found[3] = row.cells[3] if known is None else known
        return found

    return cells(one) == cells(other)


def newer_file(file: File, files: list[File]) -> int | None:
    """The newest load of a file of that name and input, if it is newer."""
    named = [f.load_id or 0 for f in files if (f.input, f.name) == (file.input, file.name)]
    return max(named) if max(named) > (file.load_id or 0) else None


def resolver_of_line(file: File, bad: RejectedLine, files: list[File]) -> int | None:
    """The same of a line that could not be split."""
    like = [
        f.load_id or 0
        for f in files
        for line in f.rejected
        if f.input == file.input
        and (f.load_id or 0) > (file.load_id or 0)
        and (line.rule, line.content) == (bad.rule, bad.content)
    ]
    return max(like, default=None) or newer_file(file, files)


def issues(
    files: list[File], judged: dict[str, list[Judged]], known: Container[int]
) -> list[tuple[Value, ...]]:
    found: list[tuple[Value, ...]] = []

    def status(resolved_by: int | None) -> tuple[str, int | None]:
        return ("open" if resolved_by is None else "resolved", resolved_by)

    for file in files:
        origin = (file.input, file.load_id, file.name)
        for bad in file.rejected:
            settled = status(resolver_of_line(file, bad, files))
            severity = "warning" if bad.rule == "swallowed_records" else "error"
            found.append((bad.rule, severity, *origin, bad.line, None, None, bad.content, *settled))
        for r in (r for r in judged[file.input] if r.file is file):
            key = r.cells[0] if r.key is None else str(r.key)
            if r.error:
                rule, *where = r.error
                settled = status(resolver(r, files, judged[file.input]))
                found.append((rule, "error", *origin, r.line, key, *where, *settled))
            if r.fate != "rejected":
                for rule, *where in warnings(r, known):
                    found.append((rule, "warning", *origin, r.line, key, *where, "open", None))
    return found


UNREADABLE = {
    "invalid_id",
    "invalid_user",
    "invalid_run_time",
    "invalid_compound_id",
    "invalid_signup_date",
}


def counted(
    files: list[File], judged: dict[str, list[Judged]], found: list[tuple[Value, ...]]
) -> list[tuple[Value, ...]]:
    """The issues by load and rule; of cells that cannot be read also how many the column has."""
    columns = MARTS["input_issues"].split()
    rows = [dict(zip(columns, issue, strict=True)) for issue in found]
    counts: list[tuple[Value, ...]] = []
    for file in files:
        own = [row for row in rows if (row["input"], row["load_id"]) == (file.input, file.load_id)]
        for rule, severity, column in sorted(
            {(str(row["rule"]), str(row["severity"]), row["column_name"]) for row in own}, key=str
        ):
            mine = [row for row in own if row["rule"] == rule]
            open_ones = [row for row in mine if row["status"] == "open"]
            cells: tuple[Value, Value] = (None, None)
            if rule in UNREADABLE:
                lists = {row["record_key"] for row in open_ones}
                unreadable = len(lists if rule == "invalid_compound_id" else open_ones)
                cells = (unreadable, filled(file, judged[file.input], str(column)))
            sizes = (len(open_ones), len(mine) - len(open_ones))
            counts.append(
                (file.input, file.load_id, file.name, rule, severity, column, *sizes, *cells)
            )
    return counts


def filled(file: File, judged: list[Judged], column: str) -> int:
    """How many cells of a column have something in them: of accepted rows, for ids of all.

    A list of nothing but separators is empty. A user id counts as filled in a row that is rejected
    for its own id.
    """
    rows = [row for row in judged if row.file is file]
    missing = {"missing_user": "user_id", "missing_id": OWN_ID[file.input]}
    if column in missing.values():
        rules = [rule for rule, own in missing.items() if own == column]
        return sum(not (row.error and row.error[0] in rules) for row in rows)
    accepted_rows = [row for row in rows if row.fate == "accepted"]
    if column == "experiment_compound_ids":
        said = file.formats.list_separator
        return sum(bool(list_items(row.cells[2], said)) for row in accepted_rows)
    return sum(bool(row.cells[3]) for row in accepted_rows)


def marts(lab: Lab) -> dict[str, list[dict[str, Value]]]:
    """Every mart by name (issues without message); rows with a numeric key in its order."""
    files = visible_files(lab)
    judged = {name: judge(files, name) for name in ("users", "compounds")}
    users, compounds = accepted(judged["users"]), accepted(judged["compounds"])
    judged["user_experiments"] = judge(files, "user_experiments", users)
    experiments = accepted(judged["user_experiments"])

    user_of = {key: id_in(r.file, r.cells[1]) or 0 for key, r in experiments.items()}
    run_times = {key: run_time_in(r.file, r.cells[3]) for key, r in experiments.items()}
    listed: list[Listing] = []
    rows: dict[str, list[tuple[Value, ...]]] = {mart: [] for mart in MARTS}
    for key, r in experiments.items():
        for position, _, i in listed_ids(r.cells[2], numbers_of(r.file), r.file.formats):
            if i is not None:
                rows["experiment_compounds"].append((key, position, i, i in compounds))
                listed.append((user_of[key], i, key))
    names = {key: r.cells[1] for key, r in compounds.items()}
    times = Counter((user, i) for user, i, _ in listed)
    most = {user: max(n for (u, _), n in times.items() if u == user) for user, _ in times}

    days = {key: parse_date(r.cells[3], r.file.formats.dates) for key, r in users.items()}
    for key, r in users.items():
        rows["users"].append((key, *r.cells[1:3], days[key], r.file.load_id, r.line))
    for key, r in compounds.items():
        rows["compounds"].append((key, *r.cells[1:], r.file.load_id, r.line))
    for key, r in experiments.items():
        run_time = None if (known := run_times[key]) is None else six_decimals(known)
        size = sum(1 for *_, e in listed if e == key)
        rows["experiments"].append((key, user_of[key], run_time, size, r.file.load_id, r.line))
    for (user, i), n in sorted(times.items()):
        rank = 1 + sum(1 for (u, _), other in times.items() if u == user and other > n)
        with_it = len({e for u, j, e in listed if (u, j) == (user, i)})
        rows["user_compound_usage"].append((user, i, names.get(i), n, with_it, rank, rank == 1))
    for i in sorted(set(compounds) | {j for _, j, _ in listed}):
        uses = [(user, e) for user, j, e in listed if j == i]
        total = sum(run_times[e] or 0 for e in {e for _, e in uses})
        named = compounds[i].cells[1:] if i in compounds else (None, None)
        counts = (len({user for user, _ in uses}), len({e for _, e in uses}), len(uses))
        rows["compound_usage"].append((i, *named, *counts, six_decimals(total)))
    per_user = mean(len(experiments) * MILLION, len(users))
    per_active_user = mean(len(experiments) * MILLION, len(set(user_of.values())))
    for user, r in users.items():
        mine = [key for key, owner in user_of.items() if owner == user]
        known_times = [time for key in mine if (time := run_times[key]) is not None]
        used = sorted(i for u, i in times if u == user)
        top = [i for i in used if times[user, i] == most[user]]
        first = (top[0], names.get(top[0])) if top else (None, None)
        known_mean = mean(sum(known_times), len(known_times))
        usage = (*first, ";".join(map(str, top)) or None, most.get(user, 0), len(used))
        total_time = six_decimals(sum(known_times))
        about = (total_time, per_active_user, r.cells[1], days[user])
        rows["user_features"].append((user, len(mine), per_user, known_mean, *usage, *about))
    rows["input_issues"] = issues(files, judged, compounds)
    rows["issue_counts"] = counted(files, judged, rows["input_issues"])
    for f in files:
        fates = Counter(r.fate for r in judged[f.input] if r.file is f)
        lost = lost_lines(f)
        lines = (len(f.rows) + lost, lost)
        counts = (fates["rejected"], fates["superseded"], fates["accepted"])
        rows["input_reconciliation"].append((f.input, f.load_id, f.name, *lines, *counts))
    return {
        mart: [dict(zip(columns.split(), row, strict=True)) for row in rows[mart]]
        for mart, columns in MARTS.items()
    }
