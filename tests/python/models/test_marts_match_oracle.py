"""Every mart of random laboratories, cell by cell against the oracle.

With LABMART_RANDOM_LABS=200 in the environment 200 more are tried on each engine. A failure names
the laboratory; `random_lab(seed, mode=..., dirt=...)` gives it again. Spark and an older PostgreSQL
have a module of their own.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator

import pytest
from support.oracle import MARTS, File, Lab, Value
from support.random_labs import CASES, MODES, Mode, catalogue_lab, random_lab
from support.random_tables import INPUTS
from support.workbench import Workbench, differences, requested_workbench


@pytest.fixture(scope="module", params=["postgres", "duckdb"])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    with requested_workbench(request, tmp_path_factory) as bench:
        yield bench


@pytest.fixture
def bench(opened: Workbench, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    opened.enter(monkeypatch)
    return opened


@pytest.mark.slow
@pytest.mark.parametrize(("seed", "mode", "dirt"), CASES)
def test_every_mart_of_a_random_laboratory_is_as_calculated(
    bench: Workbench, seed: int, mode: Mode, dirt: float
) -> None:
    bench.check(random_lab(seed, mode=mode, dirt=dirt))


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(
    bench: Workbench, mode: Mode
) -> None:
    bench.check(catalogue_lab(mode))


@pytest.mark.slow
def test_every_mart_of_an_empty_laboratory_is_empty(bench: Workbench) -> None:
    files = (
        File(entry.name, None, f"seeds/raw_{entry.name}.csv", "current", ()) for entry in INPUTS
    )
    bench.check(Lab(tuple(files)))


def test_a_difference_is_told_in_a_sentence() -> None:
    columns, date = MARTS["users"].split(), datetime.date(1, 2, 3)
    right: list[dict[str, Value]] = [
        dict(zip(columns, (1, "a", None, date, None, None), strict=True)),
    ]
    empty = {"email": "", "load_id": "", "line": ""}
    same = {"user_id": "1", "name": "a", "signup_date": "0001-02-03"} | empty
    other = {"user_id": "2", "name": "b", "signup_date": ""} | empty
    assert differences("users", right, [same]) == []
    assert differences("users", right, [same | {"name": "A"}]) == [
        "users [user_id='1'] name: 'A' is shown, 'a' is right"
    ]
    (extra,) = differences("users", right, [same, other])
    assert extra.startswith("users: should not be there: user_id='2', name='b'")
    (lacking,) = differences("users", right, [])
    assert lacking.startswith("users: not shown: user_id='1', name='a'")
