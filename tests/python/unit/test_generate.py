"""The benchmarks' data generator: same seed same bytes, the promised shape, every kind of dirt."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import generate
from benchmarks.__main__ import benchmarks, main

HEADERS = {
    "users": "user_id,name,email,signup_date",
    "compounds": "compound_id,compound_name,compound_structure",
    "user_experiments": "experiment_id,user_id,experiment_compound_ids,experiment_run_time",
}


def files(folder: Path, *options: str) -> dict[str, bytes]:
    """The bytes of the three files."""
    assert main(["generate", str(folder), *options]) == 0
    return {name: (folder / f"{name}.csv").read_bytes() for name in HEADERS}


def rows(content: bytes) -> list[list[str]]:
    """The rows below the header."""
    return list(csv.reader(content.decode().splitlines()))[1:]


@pytest.mark.parametrize("options", [(), ("--order", "shuffled"), ("--dirty", "0.3")])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, options: tuple[str, ...]) -> None:
    options = ("--experiments", "3000", *options)
    first = files(tmp_path / "first", *options)
    assert first == files(tmp_path / "second", *options)
    other = files(tmp_path / "other", *options, "--seed", "2")
    assert first["user_experiments"] != other["user_experiments"]


@pytest.mark.parametrize("order", ["sequential", "shuffled"])
def test_every_experiment_comes_once_in_plain_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    # More than one portion, and the last one not full.
    monkeypatch.setattr(generate, "PORTION", 1_000)
    options = ("--experiments", "2501", "--compounds", "7", "--order", order)
    made = files(tmp_path, *options)
    for name, content in made.items():
        assert content.startswith(f"{HEADERS[name]}\n".encode())
        assert not {*b'\r"'} & {*content}
        assert content.endswith(b"\n")
    ids = [int(row[0]) for row in rows(made["user_experiments"])]
    assert sorted(ids) == list(range(1, 2_502))
    assert (ids == sorted(ids)) == (order == "sequential")
    assert [len(rows(made[name])) for name in ("users", "compounds")] == [25, 7]


def ids_of(content: bytes) -> set[str]:
    return {row[0] for row in rows(content)}


def test_clean_rows_keep_every_rule_and_few_have_most(tmp_path: Path) -> None:
    made = files(tmp_path, "--experiments", "20000")
    experiments = rows(made["user_experiments"])
    lists = [row[2].split(";") for row in experiments]
    per_user = Counter(row[1] for row in experiments)
    per_compound = Counter(item for items in lists for item in items)
    assert set(per_user) < ids_of(made["users"]), "some user is idle, and none is unknown"
    assert set(per_compound) <= ids_of(made["compounds"])
    assert {len(items) for items in lists} == {1, 2, 3, 4}
    assert any(len(set(items)) < len(items) for items in lists)
    assert all(row[3][-2] == "." for row in experiments)
    for counts in (per_user, per_compound):
        most = sum(count for _, count in counts.most_common(len(counts) // 5))
        assert most > sum(counts.values()) / 2


def test_the_dirty_share_is_the_one_asked_for_and_of_every_kind(tmp_path: Path) -> None:
    clean = files(tmp_path, "--experiments", "10000")
    made = files(tmp_path, "--experiments", "10000", "--dirty", "0.1")
    users, compounds = ids_of(made["users"]), ids_of(made["compounds"])
    experiments = rows(made["user_experiments"])
    pairs = zip(rows(clean["user_experiments"]), experiments, strict=True)
    assert 0.08 < sum(before != after for before, after in pairs) / 10_000 < 0.12
    ids = Counter(row[0] for row in experiments)
    items = {item for row in experiments for item in row[2].split(";")}
    found = {
        "missing_id": "" in ids,
        "invalid_id": "-7" in ids,
        "duplicate_id": any(count > 1 for id_, count in ids.items() if id_.isdecimal()),
        "missing_user": any(not row[1].strip() for row in experiments),
        "invalid_user": any(row[1] == "x" for row in experiments),
        "unknown_user": any(row[1].isdecimal() and row[1] not in users for row in experiments),
        "missing_run_time": any(not row[3] for row in experiments),
        "invalid_run_time": any(row[3] == "-3.5" for row in experiments),
        "missing_compounds": any(not row[2].strip("; ") for row in experiments),
        "invalid_compound_id": "x" in items,
        "unknown_compound": any(i.isdecimal() and i.lstrip("0") not in compounds for i in items),
        "empty item": any(";;" in row[2] for row in experiments),
        "padding": any(row[0] != row[0].strip() for row in experiments),
        "NBSP and BOM": {"\u00a0", "\ufeff"} <= {sign for row in experiments for sign in row[0]},
        "leading zeros": any(id_.startswith("00") for id_ in ids),
        "decimals of an id": any(row[1].endswith(".0") for row in experiments),
    }
    assert [kind for kind, there in found.items() if not there] == []


@pytest.mark.parametrize(
    ("call", "says"),
    [
        *(
            (f"generate NEW {option}", f"Invalid value for '{option.partition(' ')[0]}'")
            for option in ("--dirty 2", "--users 0", "--experiments -1", "--order no")
        ),
        ("lode", "No such command 'lode'"),
    ],
)
def test_a_wrong_call_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], call: str, says: str
) -> None:
    assert main([part.replace("NEW", str(tmp_path / "new")) for part in call.split(" ")]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", benchmarks.commands)
def test_every_command_has_its_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    assert capsys.readouterr().out.startswith(f"Usage: python -m benchmarks {command} ")
