"""The dirtiest laboratories on Spark and on an older PostgreSQL, cell by cell against the oracle.

Fewer than in test_marts_match_oracle.py: a build on Spark takes a minute. LABMART_RANDOM_LABS adds
as many here.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.random_labs import CASES, Mode, catalogue_lab, random_lab
from support.workbench import OLDER_POSTGRES, Workbench, requested_workbench

pytestmark = pytest.mark.slow

DIRTY = [case for case in CASES if case[2] >= 0.3 or case[0] >= 1000]


@pytest.fixture(scope="module", params=["spark", OLDER_POSTGRES])
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    with requested_workbench(request, tmp_path_factory) as bench:
        yield bench


@pytest.fixture
def bench(opened: Workbench, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    opened.enter(monkeypatch)
    return opened


@pytest.mark.parametrize(("seed", "mode", "dirt"), DIRTY)
def test_every_mart_of_a_random_laboratory_is_as_calculated(
    bench: Workbench, seed: int, mode: Mode, dirt: float
) -> None:
    bench.check(random_lab(seed, mode=mode, dirt=dirt))


def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(bench: Workbench) -> None:
    bench.check(catalogue_lab("loads"))
