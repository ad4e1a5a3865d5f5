"""What tests of the raw store share: an odd input, its records, and processes that load them."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from support.databases import Database
from support.project import ROOT

from loader import ledger
from loader.engines.raw_store import RawStore, open_store
from loader.ledger import Load
from loader.parsers.records import Batch
from loader.project import Profile
from loader.sources import Input, InputColumn

PEOPLE = Input(
    "people", tuple(InputColumn(name, True, frozenset({name})) for name in ("id", "né e", 'q"%s'))
)
DAY = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def profile_of(database: Database, schema: str = "labmart", **values: str) -> Profile:
    entries = {
        "host": database.host,
        "port": database.port,
        "user": database.user,
        "password": database.password,
        "dbname": database.name,
        "schema": schema,
    }
    return Profile(Path("profiles.yml"), "test", "postgres", entries | values, f"{schema}_raw")


def batch(load_id: int, first: int, count: int, width: int = 1) -> Batch:
    lines = range(first, first + count)
    text = "".join(f'{line},{load_id},{line},"a,{"é" * width}",\n' for line in lines)
    return Batch(text, count, (), first + count)


def entry_of(load_id: int, **values: object) -> Load:
    load = Load(
        load_id=load_id,
        call_id=load_id,
        input="people",
        file="people.csv",
        sha256=f"{load_id}",
        bytes=10,
        dialect="csv",
        mode="append",
        status="current",
        records_read=3,
        records_rejected=0,
        started_at=DAY,
        finished_at=DAY,
        loaded_by="ada",
        reading="{}",
        arrived_at=DAY,
    )
    return replace(load, **values)  # type: ignore[arg-type]


def write_one(
    store: RawStore, batches: Iterator[Batch] | None = None, mode: str = ledger.APPEND
) -> int:
    """Write a load of a content of its own, without a commit; its number."""
    store.prepare([PEOPLE])
    load_id = store.next_load_id()
    store.write_records(PEOPLE, PEOPLE.column_names, ",", batches or iter([batch(load_id, 1, 3)]))
    store.add(entry_of(load_id, mode=mode))
    return load_id


def load_one(profile: Profile) -> int:
    with open_store(profile) as store:
        load_id = write_one(store)
        store.commit()
    return load_id


def no_thread_is_left() -> bool:
    return not any(thread.name.startswith("labmart-parser") for thread in threading.enumerate())


def endless(load_id: int = 1, pause: float = 0.0) -> Iterator[Batch]:
    number = 0
    while True:
        yield batch(load_id, number * 1000 + 1, 1000, width=200)
        number += 1
        time.sleep(pause)


def process(profile: Profile, code: str) -> subprocess.Popen[str]:
    """A process that runs the code with this profile."""
    script = f"""
import sys, time
from support.raw_store import *
values = {dict(profile.values)!r}
profile = Profile(Path("profiles.yml"), "test", {profile.engine!r}, values, {profile.raw_schema!r})
{textwrap.dedent(code)}
"""
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests/python'}:{ROOT}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
