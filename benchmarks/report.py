"""What a measurement prints: times and ratios, and the machine and versions they hold for."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.bench import Bench
from loader.engines import Column, Value
from loader.table import layout

_SETTINGS = (
    *("shared_buffers", "work_mem", "max_parallel_workers_per_gather", "max_parallel_workers"),
    *("parallel_tuple_cost", "jit", "wal_level", "fsync", "synchronous_commit"),
)


@dataclass(frozen=True)
class Times:
    """Seconds: of each reference by name, of all models, of all data tests, of dbt alone, of each
    model, of COPY.
    """

    references: Mapping[str, float]
    models: float
    tests: float
    dbt_alone: float
    per_model: Mapping[str, float]
    copying: float


def time_lines(times: Times) -> list[str]:
    """The main table. A ratio above 1 says how many times longer the models take."""
    ratios = [(f"ratio to {name}", seconds) for name, seconds in times.references.items()]
    columns = [("what", "text"), ("seconds", "numeric(9,1)")]
    columns += [(name, "numeric(9,2)") for name, _ in ratios]

    def row(what: str, seconds: float) -> tuple[Value, ...]:
        return (what, f"{seconds:.1f}", *(f"{seconds / other:.2f}" for _, other in ratios))

    rows = [
        row(f"reference/postgres/{name}.sql", seconds) for name, seconds in times.references.items()
    ]
    rows.append(row("dbt run, all models", times.models))
    rows.append(row("dbt test, all data tests", times.tests))
    rows.append(row("models and tests together", times.models + times.tests))
    empty = ("",) * len(ratios)
    rows.append(("- of it dbt alone (1)", f"{times.dbt_alone:.1f}", *empty))
    rows.append(("COPY into the raw tables (2)", f"{times.copying:.1f}", *empty))
    return [
        *_table(columns, rows),
        "(1) the same dbt run over empty raw tables, the best of three",
        "(2) plain COPY, no loader; in none of the other figures",
    ]


def ratio_lines(seconds: Mapping[str, float], reference: str) -> list[str]:
    """Seconds of each, and how many times longer than the reference it takes."""
    columns = [("what", "text"), ("seconds", "numeric(9,2)"), (f"ratio to {reference}", "numeric")]
    rows: list[tuple[Value, ...]] = [
        (what, f"{taken:.2f}", f"{taken / seconds[reference]:.2f}")
        for what, taken in seconds.items()
    ]
    return _table(columns, rows)


def seconds_lines(rows: Sequence[tuple[str, float]]) -> list[str]:
    columns = [("what", "text"), ("seconds", "numeric(9,1)")]
    return _table(columns, [(what, f"{seconds:.1f}") for what, seconds in rows])


def model_lines(times: Times) -> list[str]:
    """Seconds of each model. Models run side by side, so the sum exceeds the duration."""
    by_time = sorted(times.per_model.items(), key=lambda item: -item[1])
    rows: list[tuple[Value, ...]] = [(name, f"{seconds:.1f}") for name, seconds in by_time]
    return _table([("model", "text"), ("seconds", "numeric(9,1)")], rows)


def count_lines(counts: Mapping[str, int]) -> list[str]:
    rows: list[tuple[Value, ...]] = [(name, f"{count:,}") for name, count in counts.items()]
    return _table([("mart", "text"), ("rows", "bigint")], rows)


def machine_lines(bench: Bench) -> list[str]:
    """Machine, versions, and the settings of the server that matter here."""
    names = ("server_version", *_SETTINGS)
    ((server, *values),) = bench.query(
        "select " + ", ".join(f"current_setting('{name}')" for name in names)
    )
    settings = [f"{name} {value}" for name, value in zip(_SETTINGS, values, strict=True)]
    which = "embedded" if bench.database.embedded else "named by the profile"
    return [
        host_line(),
        f"versions: PostgreSQL {server} ({which}), dbt-core {version('dbt-core')}, "
        f"dbt-postgres {version('dbt-postgres')}, Python {platform.python_version()}",
        "settings: " + ", ".join(settings),
    ]


def host_line() -> str:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return f"machine: {_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}"


def _table(columns: Sequence[tuple[str, str]], rows: Sequence[tuple[Value, ...]]) -> list[str]:
    named = [Column(name=name, type=type_) for name, type_ in columns]
    return list(layout(named, rows, None).lines)


def _processor() -> str:
    """The processor's name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
