"""Loading as a careful colleague would: what is no table is passed over, what was said is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.person import Person, write

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


def test_what_a_header_calls_a_column_is_kept_with_the_load(person: Person) -> None:
    header = "experiment_id,user_id,compounds,duration_min"
    write("exp.csv", f"{header}\n1,1,1;2,10\n")
    assert person.labmart("load", "exp.csv").code == 3
    person.load("exp.csv", "--map", "duration_min=experiment_run_time")
    assert person.rows("select experiment_run_time from raw.user_experiments") == [("10",)]
    ((dialect,),) = person.rows("select dialect from raw.loads")
    assert ", duration_min=experiment_run_time" in str(dialect)
    again = person.load("exp.csv", "--map", "duration_min=experiment_run_time")
    assert "already loaded" in again.err
    assert person.labmart("load", "exp.csv", "--map", "duration_min=minutes").code == 2
    assert person.labmart("load", "exp.csv", "--map", "minutes").code == 2


def test_what_was_said_of_a_header_holds_for_the_next_file_that_has_it(person: Person) -> None:
    header = "experiment_id,user_id,compounds,duration_min,minutes"
    write("1.csv", f"{header}\n1,1,1;2,10,11\n")
    write("2.csv", f"{header}\n2,1,1;2,20,21\n")
    write("3.csv", f"{header}\n3,1,1;2,30,31\n")
    write("other.csv", f"{header.replace('user_id', 'user')}\n4,1,1;2,40,41\n")
    values = "select experiment_run_time from raw.user_experiments order by load_id"
    assert person.labmart("load", "2.csv").code == 3
    person.load("1.csv", "--map", "duration_min=experiment_run_time")
    done = person.load("2.csv")
    assert "its header was that of load 1" in done.err
    assert "duration_min=experiment_run_time; --map says others" in done.err
    assert person.rows(values) == [("10",), ("20",)]
    # It is kept with that load, too: the same file is known, and needs no memory.
    assert "already loaded" in person.load("2.csv").err
    person.load("3.csv", "--map", "minutes=experiment_run_time")
    person.load("2.csv", "--map", "minutes=experiment_run_time")
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
