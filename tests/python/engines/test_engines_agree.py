"""One history through the command on every engine: every mart the same, byte for byte.

The sample laboratory, the messy files, newer files that win, a replacement, its undo, users who
come late. PostgreSQL's output is what the others are compared with; that it is right, the oracle
says (test_marts_match_oracle.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.databases import Database
from support.oracle import MARTS
from support.project import ROOT
from support.workbench import Workbench, open_workbench

pytestmark = pytest.mark.slow

# A whole cell in quotation marks that RFC 4180 does not need.
_QUOTED_HASH = re.compile(r"\"([^\",\r\n]*#[^\",\r\n]*)\"")
USERS = "user_id,name,email,signup_date\n"
EXPERIMENTS = "experiment_id,user_id,experiment_compound_ids,experiment_run_time\n"
Outputs = dict[str, str]


def history(bench: Workbench, folder: Path) -> Iterator[tuple[str, Outputs]]:
    """What each mart prints after each chapter."""

    def write(name: str, text: str) -> str:
        (folder / name).write_text(text, encoding="utf-8")
        return str(folder / name)

    def outputs() -> Outputs:
        bench.build()
        return bench.all_shown()

    yield "sample laboratory", outputs()

    bench.labmart("load", "--max-rejected", "100%", str(ROOT / "examples" / "messy"))
    newer = "1,Ada again,,2024-02-29\n901,Late,late@lab.org,\n"
    late = "9001,902,1;1;77,0.0000005\n9002,901,2; 3;x;,999999999999.9999994\n9003,1,,-1\n"
    bench.labmart("load", write("newer.csv", USERS + newer))
    bench.labmart("load", write("late.csv", EXPERIMENTS + late))
    yield "messy files, newer rows, unknown users", outputs()

    bench.labmart("load", "--replace", write("all.csv", f"{USERS}1,Only,,\n902,Very late,,\n"))
    bench.labmart("undo", "1")
    bench.labmart("redo", "1")
    again = bench.labmart("load", write("copy.csv", EXPERIMENTS + late))
    assert again == ""
    yield "replaced users, a late user heals his experiments", outputs()

    replacement = bench.labmart("loads", "--format", "csv", "--limit", "1").splitlines()[1]
    bench.labmart("undo", replacement.split(",")[0])
    bench.labmart("prune")
    yield "the replacement undone, what does not count pruned", outputs()


@pytest.fixture(scope="module")
def expected(
    server: Database, tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[str, Outputs]]:
    folder = tmp_path_factory.mktemp("agree")
    return run("postgres", lambda: server, folder)


def run(engine: str, server: Callable[[], Database], folder: Path) -> list[tuple[str, Outputs]]:
    files = folder / "files"
    files.mkdir()
    with open_workbench(engine, server, folder) as bench:
        # The ledger's file names are part of the marts.
        found = []
        for chapter, outputs in history(bench, files):
            found.append(
                (chapter, {mart: text.replace(str(files), ".") for mart, text in outputs.items()})
            )
        return found


@pytest.mark.parametrize(
    "engine",
    [
        pytest.param("duckdb", marks=pytest.mark.prove("eight whole builds")),
        pytest.param("sail", marks=pytest.mark.prove("four whole builds more")),
        pytest.param("sail-cluster", marks=pytest.mark.prove("four whole builds more")),
        pytest.param("spark", marks=pytest.mark.prove("four whole builds on Spark take minutes")),
        pytest.param("postgres-16", marks=pytest.mark.prove("four whole builds more")),
    ],
)
def test_every_engine_tells_the_same_history(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    expected: list[tuple[str, Outputs]],
    engine: str,
) -> None:
    name, server = ("postgres", "older_server") if engine == "postgres-16" else (engine, "server")
    found = run(name, lambda: request.getfixturevalue(server), tmp_path)
    for (chapter, right), (_, shown) in zip(expected, found, strict=True):
        both = {"right": right, "shown": shown}
        assert any(text.count("\n") > 1 for text in right.values())
        for mart in MARTS:
            # DuckDB, which also writes what the lake holds, quotes a text with a # in it.
            plain = {of: _QUOTED_HASH.sub(r"\1", text[mart]) for of, text in both.items()}
            assert plain["shown"] == plain["right"], f"{chapter}: {mart}"
