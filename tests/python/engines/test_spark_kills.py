"""A load on Spark that is killed, or told to end, leaves nothing that counts, and no Java."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from support.load_processes import PATIENCE, children_of, session_of, wait_for
from support.project import ROOT
from support.raw_store import load_one
from support.spark import held_session, need_java

from loader.engines import open_store
from loader.engines.spark_session import open_session

pytestmark = [pytest.mark.slow, pytest.mark.prove("kills: a JVM of its own for each")]

_BEGIN = """
    with open_store(profile) as store:
        store.prepare([PEOPLE])
        load_id = store.next_load_id()
        print("began", flush=True)
"""
_DURING = """
        store.write_records(PEOPLE, PEOPLE.column_names, ",", endless(load_id))
"""
_BEFORE_COMMIT = """
        store.write_records(PEOPLE, PEOPLE.column_names, ",", iter([batch(load_id, 1, 3)]))
        store.add(entry_of(load_id))
        print("written", flush=True)
        time.sleep(600)
"""


def process(folder: Path, code: str) -> subprocess.Popen[str]:
    script = f"""
import sys, time
from pathlib import Path
from support.raw_store import *
from support.spark import spark_profile
from loader.cli.signals import ending_on_signals
profile = spark_profile(Path({str(folder)!r}))
with ending_on_signals():
{textwrap.indent(textwrap.dedent(code), "    ")}
"""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests/python'}:{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.parametrize(
    ("work", "word", "number"),
    [
        (_DURING, "began", signal.SIGKILL),
        (_BEFORE_COMMIT, "written", signal.SIGKILL),
        (_BEFORE_COMMIT, "written", signal.SIGTERM),
    ],
)
def test_nothing_of_it_counts(work: str, word: str, number: int, tmp_path: Path) -> None:
    need_java()
    loading = process(tmp_path, _BEGIN + work)
    assert loading.stdout is not None
    while (line := loading.stdout.readline().strip()) != word:
        assert line, loading.communicate()[1]
    assert children_of(loading.pid), "Java runs"
    loading.send_signal(number)
    loading.communicate(timeout=PATIENCE)
    assert loading.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143)
    # Java ends by itself when nobody is left to talk to.
    wait_for(lambda: session_of(loading.pid) == [], PATIENCE)
    with held_session(tmp_path) as profile:
        with open_store(profile) as store:
            assert store.loads() == []
        # What was told to end has taken its number back.
        assert load_one(profile) == (2 if number == signal.SIGKILL else 1)
        with open_store(profile) as store:
            assert len(store.loads()) == 1
            store.delete([])
            store.commit()
        with open_session(profile) as session:
            found = session.sql("select count(*) from labmart_raw.people").collect()
        assert [tuple(row) for row in found] == [(3,)]
        warehouse = tmp_path / "spark" / "warehouse" / "labmart_raw.db"
        assert len(list((warehouse / "people").glob("part-*"))) == 1
