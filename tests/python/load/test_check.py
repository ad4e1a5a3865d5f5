"""`labmart load --check`: the verdict that a build would give, and nothing stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.engines import Engine, Postgres
from support.in_process import labmart
from support.person import HEADER, write
from support.project import ROOT, copy_of_project

pytestmark = pytest.mark.slow

WRONG = """experiment_id,user_id,experiment_compound_ids,experiment_run_time
EXP-0012,U7,CMPD-7;CMPD-9,10 min
12,,1;2,0:12:30
13,1,1;x,12
13,1,1;2,1'2
x,y,z,-5
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project for both engines: what dbt has once read it needs to read no more."""
    return copy_of_project(tmp_path_factory.mktemp("check"))


def test_check_gives_the_verdict_of_a_build(
    project: Path, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.enter(monkeypatch)
    monkeypatch.chdir(tmp_path)
    write("50% off.csv", WRONG)
    seeded = labmart(project, "load", "--check", "--max-rejected", "0", "50% off.csv")
    assert seeded.code == 3
    assert seeded.err.splitlines()[-1] == (
        "  50% off.csv: 5 of 5 records would be rejected, and 0 are allowed (--max-rejected)."
    )
    # The first load takes the place of the seeds.
    users = len((ROOT / "seeds" / "raw_users.csv").read_text().splitlines()) - 1
    assert f"    users                        {users} → 0\n" in seeded.err
    assert engine.schemas("_raw") == []
    assert not (tmp_path / "test.duckdb").exists()

    write("users.csv", HEADER + "1,Ada,,\n2,Eda,,2023-01-01\n")
    compounds = "compound_id,compound_name,compound_structure\n1,Water,H2O\n2,Ethanol,C2H6O\n"
    assert labmart(project, "load", "users.csv", write("compounds.csv", compounds)).code == 0
    before = engine.everything("labmart_raw")
    write("new.csv", HEADER + "3,Cy,,2023-02-30\n")
    done = labmart(project, "load", "--check", "50% off.csv", "new.csv", "users.csv")
    assert done.code == 0, done.err
    lines = done.err.splitlines()
    start = lines.index(
        "50% off.csv: 5 records read: 1 accepted, 4 rejected (4 rows), 0 superseded"
    )
    assert [line.split(": ")[0] for line in lines[start + 1 : start + 14]] == [
        "           2  error    invalid_id",
        "           1  error    duplicate_id",
        "           1  error    missing_user",
        "           1  warning  invalid_compound_id",
        "    line 2, invalid_id",
        "    line 3, missing_user",
        "    line 5, duplicate_id",
        "    line 6, invalid_id",
        "    line 4, invalid_compound_id",
        "    2 of 5 experiment_id cannot be read; --id-prefix EXP- would read 1 of 2",
        "new.csv",
        "           1  warning  invalid_signup_date",
        "    line 2, invalid_signup_date",
    ]
    assert "(experiment_id: 'EXP-0012')" in lines[start + 5]
    assert lines[start + 14 : start + 19] == [
        "What would change in the marts:",
        "    users                        2 → 3",
        "    experiments                  0 → 1",
        "    compounds                    2",
        "    experiments per user         0.000000 → 0.333333",
    ]
    assert "already loaded (load 1, users.csv), nothing to do" in done.err
    assert lines[-1] == "6 records of 2 files can be read. Nothing was written (--check)."
    assert engine.everything("labmart_raw") == before
    again = labmart(project, "load", "--check", "users.csv")
    assert "Nothing new to load." in again.err
    if isinstance(engine, Postgres):
        engine.rows(f"alter database {engine.database.name} set default_transaction_read_only = on")
        unjudged = labmart(project, "load", "--check", "new.csv")
        assert (unjudged.code, "The rows cannot be judged." in unjudged.err) == (0, True)
        assert (labmart(project, "load", "new.csv").code) == 4
