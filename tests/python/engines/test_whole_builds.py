"""What dbt itself adds to the models: whole builds of the catalogue of odd values on every engine.

Materialisations, contracts, hooks and the reading of seeds, from the files in seeds/ and the raw
tables to what `labmart show` prints. Laboratories by the hundred: test_marts_match_oracle.py.
"""

from __future__ import annotations

import pytest
from support.random_labs import Mode, catalogue_lab
from support.workbench import OLDER_POSTGRES, requested_workbench

pytestmark = pytest.mark.slow

LONG = pytest.mark.prove("a whole build on Spark takes a minute")
CLUSTER = pytest.mark.prove("what is computed by several workers; one does in make test")
OLDER = pytest.mark.prove("the compiled models run on the older PostgreSQL in make test")
FILES = pytest.mark.prove("test_marts_from_files.py has a whole build of files in make test")
BOTH = pytest.mark.prove("one of the two on each engine is in make test")
MODES: tuple[Mode, ...] = ("seeds", "loads")


@pytest.mark.parametrize(
    ("engine", "modes"),
    [
        ("postgres", ("seeds",)),
        ("sail", ("loads",)),
        pytest.param("postgres", ("loads", "seeds"), marks=BOTH),
        pytest.param("duckdb", MODES, marks=FILES),
        pytest.param("sail", ("seeds", "loads"), marks=BOTH),
        pytest.param("sail-cluster", ("loads",), marks=CLUSTER),
        pytest.param("spark", MODES, marks=LONG),
        pytest.param(OLDER_POSTGRES, MODES, marks=OLDER),
    ],
)
def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    engine: str,
    modes: tuple[Mode, ...],
) -> None:
    with requested_workbench(engine, request, tmp_path_factory) as bench:
        for mode in modes:
            bench.check(catalogue_lab(mode))
