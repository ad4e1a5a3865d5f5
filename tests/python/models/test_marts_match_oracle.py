"""Every mart of random laboratories, cell by cell against the oracle, on every engine.

A failure names the laboratory, as it can be made again. With LABMART_RANDOM_LABS=10 in the
environment `make prove` tries ten times as many.
"""

from __future__ import annotations

import datetime
import os
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from support.compiled import CompiledModels, check_history, compiled_models, session_on
from support.databases import fresh_database
from support.engines import OLDER_POSTGRES, Postgres
from support.oracle import MARTS, File, Lab, Value
from support.random_labs import MODES, Mode, catalogue_lab, random_lab
from support.random_tables import INPUTS
from support.workbench import differences, printed

DIRT = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.7)
# How many laboratories `make test` tries on an engine, and how many `make prove`: the engines share
# all but the macros in cross_db/, so PostgreSQL alone tries many.
LABS = {
    "postgres": (32, 1000),
    "duckdb": (8, 300),
    OLDER_POSTGRES: (4, 100),
    "sail": (2, 60),
    "spark": (0, 6),
}
# Before any test: conftest takes such variables away.
TIMES = int(os.environ.get("LABMART_RANDOM_LABS", "1"))
SLOW_SPARK = pytest.mark.prove("Spark takes long to start, and seconds for a laboratory")
ENGINES = [*sorted(set(LABS) - {"spark"}), pytest.param("spark", marks=SLOW_SPARK)]
MANY = pytest.mark.prove("more than a thousand laboratories take many minutes")


def some(counts: dict[str, tuple[int, int]]) -> Iterator[object]:
    """Engine and seeds: those of `make test`, then those of `make prove` by the hundred."""
    for engine, (few, most) in counts.items():
        many = most * TIMES
        starts = [0, *range(few, many, 100), many] if few else [*range(0, many, 100), many]
        for start, end in pairwise(starts):
            marks = [] if end == few else [MANY]
            yield pytest.param(engine, range(start, end), marks=marks, id=f"{engine}-{start}")


@pytest.fixture(scope="module")
def compiled_on(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], CompiledModels]]:
    """The models on an engine; compiled when they are first asked for."""
    with ExitStack() as stack:

        @cache
        def compiled(name: str) -> CompiledModels:
            if name == OLDER_POSTGRES:
                newer = compiled("postgres")
                assert isinstance(newer.engine, Postgres)
                # What dbt compiles has the name of the database in it.
                same = newer.engine.database.name
                older = fresh_database(request.getfixturevalue("older_server"), same)
                return replace(newer, engine=Postgres(stack.enter_context(older)))
            folder = tmp_path_factory.mktemp("compiled")
            opened = compiled_models(name, request, folder)
            return stack.enter_context(opened)

        yield compiled


@pytest.fixture
def compiled(compiled_on: Callable[[str], CompiledModels], engine: str) -> CompiledModels:
    return compiled_on(engine)


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "seeds"), [*some(LABS)])
def test_every_mart_of_a_random_laboratory_is_as_calculated(
    compiled: CompiledModels, seeds: range
) -> None:
    for seed in seeds:
        mode, dirt = MODES[seed % 2], DIRT[-1 - seed // 2 % len(DIRT)]
        with named(f"random_lab({seed}, mode={mode!r}, dirt={dirt})"):
            compiled.check(random_lab(seed, mode=mode, dirt=dirt))


@contextmanager
def named(laboratory: str) -> Iterator[None]:
    """What fails in it, fails with the name of the laboratory."""
    try:
        yield
    except Exception as failure:
        failure.add_note(laboratory)
        raise


# Laboratories whose loads come and go: of `make test`, and of `make prove`.
HISTORIES = {"postgres": (2, 60), "duckdb": (0, 20), OLDER_POSTGRES: (0, 10)}


def history(lab: Lab, seed: int) -> Iterator[Lab]:
    """The laboratory with other current loads in each step, never without any.

    Loads that are undone and done again are also what a replacement, users who come late and users
    who leave are to the models.
    """
    rng = random.Random(seed)
    files = list(lab.files)
    loaded = [at for at, file in enumerate(files) if file.load_id is not None]
    for _ in range(6):
        for at in rng.sample(loaded, min(rng.choice((1, 1, 2, 3)), len(loaded))):
            status = "reverted" if files[at].status == "current" else "current"
            files[at] = replace(files[at], status=status)
        if not any(files[at].status == "current" for at in loaded):
            files[loaded[0]] = replace(files[loaded[0]], status="current")
        yield Lab(tuple(files))


@pytest.mark.slow
@pytest.mark.parametrize(("engine", "seeds"), [*some(HISTORIES)])
def test_increments_leave_what_a_whole_build_does(compiled: CompiledModels, seeds: range) -> None:
    for seed in seeds:
        dirt = DIRT[seed % len(DIRT)]
        labs = [random_lab(n, mode="loads", dirt=dirt) for n in range(seed, 9999, 500)]
        # The catalogue of odd values once, then those of most loads.
        lab = max(labs, key=lambda one: len(one.files)) if seed else catalogue_lab("loads")
        with named(f"history {seed}"):
            check_history(compiled, history(lab, seed))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "mode"),
    [
        *((engine, mode) for engine in LABS for mode in MODES if engine != "spark"),
        *(pytest.param("spark", mode, marks=SLOW_SPARK) for mode in MODES),
    ],
)
def test_every_mart_of_the_catalogue_of_odd_values_is_as_calculated(
    compiled: CompiledModels, mode: Mode
) -> None:
    compiled.check(catalogue_lab(mode))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_every_mart_of_an_empty_laboratory_is_empty(compiled: CompiledModels) -> None:
    files = (
        File(entry.name, None, f"seeds/raw_{entry.name}.csv", "current", ()) for entry in INPUTS
    )
    compiled.check(Lab(tuple(files)))


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_the_engine_does_what_the_examples_of_its_macros_say(compiled: CompiledModels) -> None:
    examples = compiled.project.examples
    assert len(examples) > 2
    with session_on(compiled.engine) as session:
        assert [row for sql in examples.values() for row in session.run(sql)] == []


@pytest.mark.slow
@pytest.mark.prove("sentences, of which the oracle knows nothing: two engines for each test")
@pytest.mark.parametrize("engine", [engine for engine in LABS if engine != "postgres"])
def test_every_engine_says_the_same_of_a_row(
    compiled: CompiledModels, compiled_on: Callable[[str], CompiledModels]
) -> None:
    for lab in (catalogue_lab("loads"), *(random_lab(n, mode="loads", dirt=0.3) for n in range(9))):
        shown, right = (
            {mart: sorted(tuple(map(printed, row)) for row in rows) for mart, rows in read.items()}
            for read in (models.read(lab) for models in (compiled, compiled_on("postgres")))
        )
        assert shown == right


def test_a_difference_is_told_in_a_sentence() -> None:
    columns, date = MARTS["users"].split(), datetime.date(1, 2, 3)
    right: list[dict[str, Value]] = [
        dict(zip(columns, (1, "a", None, date, None, None), strict=True)),
    ]
    empty = {"email": "", "load_id": "", "line": ""}
    same = {"user_id": "1", "name": "a", "signup_date": "0001-02-03"} | empty
    other = {"user_id": "2", "name": "b", "signup_date": ""} | empty
    assert differences("users", right, [same]) == []
    lacking, extra = differences("users", right, [same | {"name": "A"}])
    assert lacking.startswith("users: not shown: user_id='1', name='a'")
    assert extra.startswith("users: should not be there: user_id='1', name='A'")
    for shown in ([same, other], []):
        assert len(differences("users", right, shown)) == 1
