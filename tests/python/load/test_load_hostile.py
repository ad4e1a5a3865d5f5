"""Names of files and headers that try to be more than names."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from support.person import Person, write

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


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_a_name(person: Person, name: str) -> None:
    shown = HOSTILE[name]
    write(name)
    assert f"{shown} → users\n" in person.load(name).err
    assert person.rows("select file from raw.loads") == [(shown,)]
    assert person.labmart("loads").code == 0
    assert "is undone" in person.labmart("undo", "1").err
    write(name, "a,b\n")
    done = person.labmart("load", name)
    assert done.code == 3
    assert f"  {shown}: no line" in done.err
    Path(name).unlink()
    done = person.labmart("load", name)
    assert done.code == 2
    assert shown in done.err


def test_a_name_with_a_leading_dash_comes_after_two(person: Person) -> None:
    write("-rf.csv")
    assert person.labmart("load", "-rf.csv").code == 2
    person.load("--", "-rf.csv")
    assert person.rows("select file from raw.loads") == [("-rf.csv",)]


EVIL_NAMES = (
    *("\x1b]0;owned\x07", "=cmd|' /C calc'!A0", "<script>alert(1)</script>", "$(reboot)", "%s"),
    *("'; drop table users; --", "{{ 1/0 }}", "\u202e", "x" * 5000, "\x9b31m"),
)


@pytest.mark.parametrize("name", EVIL_NAMES)
@pytest.mark.parametrize("first", [True, False])
def test_a_hostile_header_and_cell_are_text(person: Person, name: str, first: bool) -> None:
    names = [name, "user_id", "name", "email", "signup_date"]
    cells = ["x", "1", name, "", ""]
    if not first:
        names, cells = [*names[1:], name], [*cells[1:], "x"]
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([names, cells])
    done = person.load(write("users.csv", out.getvalue()))
    assert "further columns, kept in `extra`: " in done.err
    assert max(map(len, done.err.splitlines())) < 1000
    assert person.names() == [name]
