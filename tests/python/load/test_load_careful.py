"""On each engine: what is no table is passed over, what was said is kept, undo and redo."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from pathlib import Path

import pytest
from support.person import HEADER, Person, write

pytestmark = pytest.mark.slow

README = "Exports of lab 7\n\nusers.csv: people, as of January; ask Ada.\nplates: later, maybe\n"


def test_a_readme_in_a_folder_is_passed_over_and_told(person: Person) -> None:
    Path("in").mkdir()
    write("in/README.txt", README)
    write("in/users.csv", "user_id,name\n1,Ada\n")
    done = person.load("in")
    assert "in/README.txt: no line of the first 100 names columns of an input" in done.err
    assert "It is passed over." in done.err
    assert person.names() == ["Ada"]
    # What is named itself, or stands alone, or could be a table without a header, is refused.
    assert person.labmart("load", "in/README.txt").code == 3
    assert person.labmart("load", "in", "--exclude", "users.csv").code == 3
    write("in/more.csv", "2,Bob\n3,Cem\n")
    done = person.labmart("load", "in")
    assert done.code == 3
    assert "in/more.csv" in done.err


def test_what_is_loaded_is_known_though_its_input_had_to_be_said(person: Person) -> None:
    Path("in").mkdir()
    write("in/a.csv", "user_id,name,experiment_id\n1,Ada,7\n")
    assert person.labmart("load", "in").code == 3
    person.load("in", "--input", "users")
    write("in/b.csv", "user_id,name\n2,Bob\n")
    assert "already loaded" in person.load("in").err
    assert person.names() == ["Ada", "Bob"]


def test_what_was_said_of_a_header_is_kept_and_holds_for_the_next_file(person: Person) -> None:
    header = "experiment_id,user_id,compounds,duration_min,minutes"
    for n in (1, 2, 3):
        write(f"{n}.csv", f"{header}\n{n},1,1;2,{n}0,{n}1\n")
    write("other.csv", f"{header.replace('user_id', 'user')}\n4,1,1;2,40,41\n")
    values = "select experiment_run_time from raw.user_experiments order by load_id"
    first, second = (("--map", f"{n}=experiment_run_time") for n in ("duration_min", "minutes"))
    assert person.labmart("load", "2.csv").code == 3
    for wrong in ("duration_min=time", "minutes"):
        assert person.labmart("load", "1.csv", "--map", wrong).code == 2
    person.load("1.csv", *first)
    ((dialect,),) = person.rows("select dialect from raw.loads")
    assert ", duration_min=experiment_run_time" in str(dialect)
    assert "already loaded" in person.load("1.csv", *first).err
    done = person.load("2.csv")
    assert "its header was that of load 1" in done.err
    assert "duration_min=experiment_run_time; --map says others" in done.err
    assert person.rows(values) == [("10",), ("20",)]
    # It is kept with that load, too: the same file is known, and needs no memory.
    assert "already loaded" in person.load("2.csv").err
    person.load("3.csv", *second)
    person.load("2.csv", *second)
    assert person.rows(values)[-2:] == [("31",), ("21",)]
    # Another header, and one of which what was said is undone, mean what they say themselves.
    assert person.labmart("load", "other.csv").code == 3
    person.labmart("undo", "1", "2", "3", "4")
    write("5.csv", f"{header}\n5,1,1;2,50,51\n")
    assert person.labmart("load", "5.csv").code == 3


def test_a_record_that_may_have_swallowed_others_is_kept_with_a_warning(person: Person) -> None:
    header = "experiment_id,user_id,compounds,run_time"
    swallowed = '2,1,"1;2,10\n3,1,1;2,10\n4,1,1;2"'
    write("exp.csv", f"{header}\n1,1,1;2,10\n{swallowed},10\n5,1\n6,1,1;2,10\n")
    done = person.load("exp.csv", "--max-rejected", "1")
    assert "warning: a quoted cell has lines that look like records in lines 3 to 5" in done.err
    assert "4 records read, 1 rejected line" in done.err
    assert person.rows("select records_read, records_rejected from raw.loads") == [(4, 1)]
    assert person.rows("select line, rule, content from raw.rejected_lines order by line") == [
        (3, "swallowed_records", f"{swallowed},10"),
        (6, "wrong_column_count", "5,1"),
    ]
    ((detail,),) = person.rows("select detail from raw.rejected_lines where line = 3")
    assert str(detail).startswith("Lines 3 to 5 are one record")


def test_lists_of_json_are_lists_also_of_another_separator(person: Person) -> None:
    run = {"experiment_id": 1, "user_id": 1, "experiment_compound_ids": [1, None, 2]}
    write("exp.jsonl", json.dumps({**run, "experiment_run_time": 12.5}))
    person.load("exp.jsonl")
    person.load("exp.jsonl", "--list-separator", ",")
    lists = person.rows("select experiment_compound_ids from raw.user_experiments order by load_id")
    assert lists == [("1;;2",), ("1,,2",)]


def test_loads_prints_the_ledger(person: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    assert person.labmart("loads").code == 0
    assert "Nothing has been loaded yet." in person.labmart("loads").err
    assert json.loads(person.labmart("loads", "--format", "json").out) == []
    assert not person.has_tables()
    name = write('a "b", c.csv')
    person.load(name)
    person.load("--replace", write("new.csv", HEADER + "3,Cy,,\n"))
    done = person.labmart("loads", "--format", "csv")
    first, second = csv.DictReader(io.StringIO(done.out))
    assert (first["load_id"], first["status"], first["file"]) == ("1", "superseded", name)
    assert (second["mode"], second["records_read"]) == ("replace", "1")
    assert (second["reading"], second["decimal"]) == ("{}", "")
    in_json = json.loads(person.labmart("loads", "--format", "json").out)
    assert [entry["load_id"] for entry in in_json] == [1, 2]
    assert in_json[0].keys() == first.keys()
    assert [entry["sha256"] for entry in in_json] == [first["sha256"], second["sha256"]]
    done = person.labmart("loads", "--limit", "1")
    assert "new.csv" in done.out
    assert re.search(r"  \d{4}-\d\d-\d\d \d\d:\d\d  \S", done.out)
    assert name not in done.out
    assert "loads: the newest 1 of 2" in done.err
    # Every target schema reads the same loads.
    monkeypatch.setenv("LABMART_SCHEMA", "dev_ana")
    assert "new.csv" in person.labmart("loads").out


def test_a_second_try_with_another_reading_takes_the_place_of_the_first(person: Person) -> None:
    write("users.csv", (HEADER + "1,Иван Панов,,\n2,Анна Котова,,\n").encode("cp1251"))
    person.load("users.csv", "--encoding", "windows-1252")
    for load_id, replace in ((2, ()), (3, ("--replace",)), (4, ())):
        done = person.load("users.csv", "--encoding", "windows-1251", *replace)
        assert "takes the place of load 1, which was read as text, cp1252, " in done.err
        if load_id < 4:
            person.labmart("undo", str(load_id))
            person.labmart("prune")
    assert person.rows("select load_id, status from raw.loads order by 1") == [
        (1, "superseded"),
        (4, "current"),
    ]
    # A nightly call that says nothing of it leaves the correction as it is.
    for again in ((), ("--replace",), ("--encoding", "windows-1251")):
        assert "already loaded (load 4, users.csv)" in person.load("users.csv", *again).err
    # Sent again after others, it is read as it was read.
    person.load(write("other.csv", HEADER + "1,Ada,,\n"))
    os.utime("users.csv")
    assert "the same as load 4, whose place it takes" in person.load("users.csv").err
    assert person.names()[-2:] == ["Иван Панов", "Анна Котова"]
    done = person.labmart("undo", "4", "6")
    assert "; 1 current again: 1" in done.err
