"""The oracle against results calculated by hand: every rule, every edge.

The oracle judges the SQL, so something has to judge the oracle.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from decimal import Decimal

from support.oracle import Cell, File, Lab, RejectedLine, Row, Value, marts

Cells = tuple[Cell, ...]
USERS: tuple[Cells, ...] = (
    ("1", "Ada", "ada@example.org", "2023-01-31"),
    ("2", "Bo", None, None),
)
COMPOUNDS: tuple[Cells, ...] = (
    ("1", "Water", "H2O"),
    ("2", "Benzene", "C6H6"),
    ("3", None, None),
)


def seeds(
    experiments: tuple[Cells, ...] = (),
    users: tuple[Cells, ...] = USERS,
    compounds: tuple[Cells, ...] = COMPOUNDS,
) -> Lab:
    rows = {"users": users, "compounds": compounds, "user_experiments": experiments}
    return Lab(
        tuple(
            File(name, None, f"seeds/raw_{name}.csv", "current", tuple(Row(None, c) for c in cells))
            for name, cells in rows.items()
        )
    )


def load(load_id: int, name: str, *rows: Sequence[Cell], status: str = "current") -> File:
    numbered = tuple(Row(line, tuple(cells)) for line, cells in enumerate(rows, start=2))
    return File(name, load_id, f"{name}_{load_id}.csv", status, numbered)


def column(rows: list[dict[str, Value]], *names: str) -> list[tuple[Value, ...]]:
    return [tuple(row[name] for name in names) for row in rows]


def issues(lab: Lab, *names: str) -> list[tuple[Value, ...]]:
    return column(marts(lab)["input_issues"], *(names or ("rule", "record_key", "value")))


def fates(lab: Lab) -> dict[tuple[Value, Value], tuple[Value, ...]]:
    """Read, rejected lines, rejected, superseded and accepted rows of each input and load."""
    return {
        (row["input"], row["load_id"]): tuple(row.values())[3:]
        for row in marts(lab)["input_reconciliation"]
    }


# --- the fate of a row ------------------------------------------------------------------------


def test_each_error_of_an_experiment_rejects_the_row_and_the_first_one_is_named() -> None:
    lab = seeds(
        (
            (None, "x", "1", "1"),
            ("x", None, "1", "1"),
            ("10", " ", "1", "1"),
            ("011", "\tx", "1", "1"),
            ("12.0", "9", "9;x", ""),
            ("13", "01.0", "1", "1"),
        )
    )
    assert issues(lab, "rule", "severity", "record_key", "column_name", "value") == [
        ("missing_id", "error", None, "experiment_id", None),
        ("invalid_id", "error", "x", "experiment_id", "x"),
        ("missing_user", "error", "10", "user_id", None),
        ("invalid_user", "error", "11", "user_id", "x"),
        ("unknown_user", "error", "12", "user_id", "9"),
    ]
    assert fates(lab)["user_experiments", None] == (6, 0, 5, 0, 1)
    assert column(marts(lab)["experiments"], "experiment_id", "user_id") == [(13, 1)]


def test_the_first_sound_line_of_a_load_is_kept_and_a_bad_one_is_no_duplicate() -> None:
    cells = [("7", user, "1", "1") for user in ("9", "2", "1", "x")]
    files = (
        load(1, "users", *USERS),
        load(2, "compounds", *COMPOUNDS),
        load(3, "user_experiments", *cells),
    )
    assert issues(Lab(files), "rule", "line", "record_key", "value") == [
        ("unknown_user", 2, "7", "9"),
        ("invalid_user", 5, "7", "x"),
        ("duplicate_id", 4, "7", "7"),
    ]
    assert column(marts(Lab(files))["experiments"], "user_id", "line") == [(2, 3)]


def test_a_seed_keeps_the_row_with_the_smallest_trimmed_cells() -> None:
    rows: tuple[Cells, ...] = (
        ("7", "b", None, None),
        ("7", " a", None, "2023-01-01"),
        ("\u00a07", "a", "", None),
        ("7", "a", None, ""),
    )
    lab = seeds(users=rows)
    assert column(marts(lab)["users"], "name", "signup_date") == [("a", None)]
    assert issues(lab) == [("duplicate_id", "7", "7")] * 3
    assert column(marts(seeds(users=(*rows, ("007", "z", "z", "z"))))["users"], "name") == [("z",)]
    assert column(marts(seeds(users=(*rows, ("7", "é", "", ""))))["users"], "name") == [("a",)]
    capital = seeds(users=(("7", "a", None, None), ("7", "B", None, None)))
    assert column(marts(capital)["users"], "name") == [("B",)]


def test_across_loads_the_newest_sound_row_wins_without_an_issue() -> None:
    lab = Lab(
        (
            load(3, "users", ("1", "new", None, None), ("2", "two", None, None)),
            load(1, "users", ("1", "old", None, "bad"), ("01", "same load", None, None)),
            load(2, "users", ("1x", "invalid", None, None), ("1", "middle", None, "bad")),
        )
    )
    assert column(marts(lab)["users"], "user_id", "name", "load_id", "line") == [
        (1, "new", 3, 2),
        (2, "two", 3, 3),
    ]
    assert issues(lab, "rule", "load_id", "line") == [
        ("duplicate_id", 1, 3),
        ("invalid_id", 2, 2),
    ]
    assert fates(lab) == {
        ("users", 3): (2, 0, 0, 0, 2),
        ("users", 1): (2, 0, 1, 1, 0),
        ("users", 2): (2, 0, 1, 1, 0),
    }


def test_a_newer_experiment_of_an_unknown_user_displaces_nothing_until_the_user_arrives() -> None:
    files = (
        load(1, "users", *USERS),
        load(2, "user_experiments", ("5", "1", "1", "10")),
        load(3, "user_experiments", ("5", "9", "2", "20")),
    )
    assert column(marts(Lab(files))["experiments"], "user_id", "load_id") == [(1, 2)]
    assert issues(Lab(files), "rule", "load_id") == [("unknown_compound", 2), ("unknown_user", 3)]
    healed = Lab((*files, load(4, "users", ("9", "late", None, None))))
    assert column(marts(healed)["experiments"], "user_id", "load_id") == [(9, 3)]
    assert fates(healed)["user_experiments", 2] == (1, 0, 0, 1, 0)
    assert issues(healed, "rule", "load_id") == [("unknown_compound", 3)]


def test_only_current_loads_count_and_seeds_only_without_any() -> None:
    sample = seeds()
    old = load(1, "users", ("8", "eight", None, None), status="superseded")
    undone = load(2, "users", ("9", "nine", None, None), status="reverted")
    assert column(marts(Lab((*sample.files, old, undone)))["users"], "user_id") == [(1,), (2,)]
    current = load(3, "compounds", ("4", "Four", "C4"))
    lab = Lab((*sample.files, old, undone, current))
    assert marts(lab)["users"] == []
    assert column(marts(lab)["compounds"], "compound_id", "load_id", "line") == [(4, 3, 2)]
    assert fates(lab) == {("compounds", 3): (1, 0, 0, 0, 1)}


def test_rejected_lines_are_read_records_and_issues() -> None:
    bad = RejectedLine(4, "wrong_column_count", "5 cells", "1,2,3,4,5")
    file = File("users", 1, "u.csv", "current", (Row(2, USERS[0]),), (bad,))
    lab = Lab((file,))
    assert fates(lab) == {("users", 1): (2, 1, 0, 0, 1)}
    assert marts(lab)["input_issues"] == [
        {
            "rule": "wrong_column_count",
            "severity": "error",
            "input": "users",
            "load_id": 1,
            "file": "u.csv",
            "line": 4,
            "record_key": None,
            "column_name": None,
            "value": "1,2,3,4,5",
            "status": "open",
            "resolved_by_load_id": None,
        }
    ]


def test_a_file_without_rows_has_a_line_in_the_reconciliation() -> None:
    lab = Lab((load(1, "users"),))
    assert fates(lab) == {("users", 1): (0, 0, 0, 0, 0)}
    assert marts(lab)["user_features"] == []


# --- warnings ---------------------------------------------------------------------------------


def test_warnings_of_an_experiment_leave_it_accepted() -> None:
    lab = seeds(
        (
            ("1", "1", None, None),
            ("2", "1", " ; ", "-1"),
            ("3", "1", "9;x;9; ;1", "1"),
            ("4", "1", "x", "5"),
        )
    )
    assert issues(lab, "rule", "severity", "record_key", "column_name", "value") == [
        ("missing_run_time", "warning", "1", "experiment_run_time", None),
        ("missing_compounds", "warning", "1", "experiment_compound_ids", None),
        ("invalid_run_time", "warning", "2", "experiment_run_time", "-1"),
        ("missing_compounds", "warning", "2", "experiment_compound_ids", ";"),
        ("unknown_compound", "warning", "3", "experiment_compound_ids", "9"),
        ("invalid_compound_id", "warning", "3", "experiment_compound_ids", "x"),
        ("unknown_compound", "warning", "3", "experiment_compound_ids", "9"),
        ("invalid_compound_id", "warning", "4", "experiment_compound_ids", "x"),
    ]
    assert column(marts(lab)["experiments"], "run_time", "compounds_listed") == [
        (None, 0),
        (None, 0),
        (Decimal("1.000000"), 3),
        (Decimal("5.000000"), 0),
    ]
    assert column(marts(lab)["experiment_compounds"], "experiment_id", "position") == [
        (3, 1),
        (3, 3),
        (3, 5),
    ]


def test_a_bad_signup_date_is_noticed_and_an_empty_one_is_not() -> None:
    lab = seeds(users=(("1", "a", None, "2023-02-30"), ("2", "b", None, " ")))
    assert issues(lab) == [("invalid_signup_date", "1", "2023-02-30")]
    assert column(marts(lab)["users"], "signup_date") == [(None,), (None,)]


# --- usage and features -----------------------------------------------------------------------


def test_a_compound_listed_twice_counts_twice_but_is_one_experiment_and_one_time() -> None:
    lab = seeds((("1", "1", "2;02;2.0;1", "10"), ("2", "1", "1;9", "2.5"), ("3", "2", "9", "x")))
    assert [tuple(row.values()) for row in marts(lab)["user_compound_usage"]] == [
        (1, 1, "Water", 2, 2, 2, False),
        (1, 2, "Benzene", 3, 1, 1, True),
        (1, 9, None, 1, 1, 3, False),
        (2, 9, None, 1, 1, 1, True),
    ]
    assert [tuple(row.values()) for row in marts(lab)["compound_usage"]] == [
        (1, "Water", "H2O", 1, 2, 2, Decimal("12.500000")),
        (2, "Benzene", "C6H6", 1, 1, 3, Decimal("10.000000")),
        (3, None, None, 0, 0, 0, Decimal("0.000000")),
        (9, None, None, 2, 2, 2, Decimal("2.500000")),
    ]


def test_ties_share_a_rank_and_the_next_rank_is_skipped() -> None:
    lab = seeds((("1", "1", "10;3;1;3;10", "1"),))
    assert column(marts(lab)["user_compound_usage"], "compound_id", "usage_rank") == [
        (1, 3),
        (3, 1),
        (10, 1),
    ]
    (first, second) = marts(lab)["user_features"]
    assert first["most_consumed_compound"] == 3
    assert first["most_consumed_compound_name"] is None
    assert first["most_consumed_compounds"] == "3;10"
    assert first["most_consumed_compound_count"] == 2
    assert first["distinct_compounds"] == 3
    assert list(second.values()) == [
        *(2, 0, Decimal("0.500000"), None, None, None, None, 0, 0),
        *(Decimal("0.000000"), Decimal("1.000000"), "Bo", None),
    ]


def test_the_mean_leaves_out_unknown_run_times_and_the_experiment_still_counts() -> None:
    rows = (("1", "1", "1", "10"), ("2", "1", "1", "x"), ("3", "1", "1", "10.000001"))
    first = marts(seeds(rows))["user_features"][0]
    assert first["total_exp_per_user"] == 3
    assert first["avg_exp_time_per_user"] == Decimal("10.000001")
    assert first["total_exp_time_per_user"] == Decimal("20.000001")
    assert first["avg_experiment_count"] == Decimal("1.500000")
    assert first["avg_experiments_per_active_user"] == Decimal("3.000000")
    assert first["user_name"] == "Ada"
    assert first["signup_date"] == datetime.date(2023, 1, 31)


def test_without_an_experiment_there_is_no_mean_per_active_user() -> None:
    first = marts(seeds())["user_features"][0]
    assert first["avg_experiment_count"] == Decimal("0.000000")
    assert first["avg_experiments_per_active_user"] is None


def test_the_laboratory_of_the_system_that_labmart_replaces() -> None:
    """Twenty users and 41 experiments; the results for users 1, 2 and 20 are known."""
    names = (("1", "Compound A", None), ("2", "Compound B", None), ("3", "Compound C", None))
    users = tuple((str(n), f"User {n}", None, None) for n in range(1, 21))
    known = [("1", "1;2", "10"), ("1", "2;3", "15"), ("2", "1;3", "20"), ("2", "2;3", "30")]
    known += [("20", "1;2", "10"), ("20", "2;3", "20"), ("20", "1;3", "30")]
    known += [(str(user), "1", "1") for user in range(3, 20) for _ in "ab"]
    experiments = tuple((str(n), *cells) for n, cells in enumerate(known, start=1))
    lab = seeds(experiments, users, names)
    found = {row["user_id"]: list(row.values())[1:7] for row in marts(lab)["user_features"]}
    average = Decimal("2.050000")
    assert found[1] == [2, average, Decimal("12.500000"), 2, "Compound B", "2"]
    assert found[2] == [2, average, Decimal("25.000000"), 3, "Compound C", "3"]
    assert found[20] == [3, average, Decimal("20.000000"), 1, "Compound A", "1;2;3"]
    assert marts(lab)["input_issues"] == []
