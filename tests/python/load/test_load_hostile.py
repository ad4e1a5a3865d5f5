"""Names of files and headers that try to be more than names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.person import HEADER, Person, write

pytestmark = pytest.mark.slow


HOSTILE = {
    "new\nline.csv": "new\\nline.csv",
    "\x1b[31mred\x07.csv": "\\x1b[31mred\\x07.csv",
    "q'uo\"te`$(reboot)`.csv": "q'uo\"te`$(reboot)`.csv",
    "bytes\udcff\udc9b.csv": "bytes\\xff\\x9b.csv",
    "; rm -rf x; '); drop table users; --": "; rm -rf x; '); drop table users; --",
    "\u202egnp.csv": "\\u202egnp.csv",
    "%s%(a)s{{ 1-0 }}.csv": "%s%(a)s{{ 1-0 }}.csv",
    "=1+1": "=1+1",
    "[ab]?*.csv": "[ab]?*.csv",
    "x" * 200: "x" * 200,
}


def test_a_hostile_name_is_a_name(person: Person) -> None:
    names = [write(name, f"{HEADER}{number},a,,\n") for number, name in enumerate(HOSTILE)]
    done = person.load(*names)
    for shown in HOSTILE.values():
        assert f"{shown} → users\n" in done.err
    assert person.rows("select file from raw.loads order by load_id") == [
        (shown,) for shown in HOSTILE.values()
    ]
    assert person.labmart("loads").code == 0
    assert person.labmart("undo", "1", "2").err.count("is undone") == 2
    for name in names:
        write(name, "a,b\n")
    refused = person.labmart("load", *names)
    assert refused.code == 3
    for name, shown in HOSTILE.items():
        assert f"  {shown}: no line" in refused.err
        Path(name).unlink()
        missing = person.labmart("load", name)
        assert (missing.code, shown in missing.err) == (2, True)


def test_a_name_with_a_leading_dash_comes_after_two(person: Person) -> None:
    write("-rf.csv")
    assert person.labmart("load", "-rf.csv").code == 2
    person.load("--", "-rf.csv")
    assert person.rows("select file from raw.loads") == [("-rf.csv",)]


EVIL_NAMES = (
    *("\x1b]0;owned\x07", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "$(reboot)", "%s"),
    *("'; drop table users; --", "{{ 1/0 }}", "\u202e", "x" * 5000, "\x9b31m"),
)


def test_a_hostile_header_and_cell_are_text(person: Person) -> None:
    for number, name in enumerate(EVIL_NAMES):
        names = [name, "user_id", "name", "email", "signup_date"]
        cells = ["x", "1", name, "", ""]
        if number % 2:
            names, cells = [*names[1:], name], [*cells[1:], "x"]
        out = io.StringIO()
        csv.writer(out, quoting=csv.QUOTE_ALL).writerows([names, cells])
        write(f"{number:02}.csv", out.getvalue())
    done = person.load(".")
    assert done.err.count("further columns, kept in `extra`: ") == len(EVIL_NAMES)
    assert max(map(len, done.err.splitlines())) < 1000
    assert person.names() == list(EVIL_NAMES)
