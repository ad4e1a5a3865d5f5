"""What a build costs after a small load, or its undo, against a whole build of the same laboratory.

"Net" is without what the same builds of 20,000 experiments take, which is dbt. On a machine that
does other things too, the seconds of the processor are the ones to go by: those of the program and,
with the embedded PostgreSQL, of its server.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import psutil

from benchmarks.bench import Run, Scratch, report, run, scratch, server
from benchmarks.generate import Laboratory, experiment_lines
from loader.contract import Column
from loader.engines import Row
from loader.show import layout

_SMALL = 20_000
_COLUMNS = ("seconds", "processor", "net seconds", "net processor", "of whole", "of its processor")


def measure(laboratory: Laboratory, target: str) -> None:
    """Time the builds and print the report."""
    with scratch() as made, server(made) if target == "postgres" else nullcontext():
        # The first build and the first increment of all read the project, which is kept.
        for seed in (1, 2):
            alone = _builds(made, target, Laboratory(_SMALL, dirty=laboratory.dirty, seed=seed))
        taken = _builds(made, target, laboratory)
    nets = {
        name: (done.seconds - alone[name].seconds, done.processor - alone[name].processor)
        for name, done in taken.items()
    }
    rows: list[Row] = [
        (
            name,
            *(f"{n:.2f}" for n in (taken[name].seconds, taken[name].processor, *net)),
            *(f"{100 * n / all_:.1f} %" for n, all_ in zip(net, nets["whole"], strict=True)),
        )
        for name, net in nets.items()
    ]
    columns = [Column("build", "text"), *(Column(name, "numeric") for name in _COLUMNS)]
    report([f"{laboratory}, on {target}"], layout(columns, rows, None).lines)


def _builds(made: Scratch, target: str, laboratory: Laboratory) -> dict[str, Run]:
    """What each build takes."""
    files = [str(path) for path in made.make(laboratory).values()]
    taken: dict[str, Run] = {}

    def build(what: str, *change: str) -> None:
        run(made.labmart(target, *change), change[0])
        before = _server_seconds(made)
        done = run(made.labmart(target, "build"), f"build, {what}")
        taken[what] = replace(done, processor=done.processor + _server_seconds(made) - before)

    build("whole", "load", "--replace", *files)
    build("1 % more", "load", _more(laboratory, made.files, laboratory.experiments // 100))
    build("1,000 more", "load", _more(laboratory, made.files, 1_000))
    listed = made.labmart(target, "loads", "--format", "csv", "--limit", "1")
    newest = run(listed, "loads").out.splitlines()[1]
    build("1,000 undone", "undo", newest.partition(",")[0])
    return taken


def _more(laboratory: Laboratory, folder: Path, count: int) -> str:
    """A file of so many experiments more; every tenth has an id that is known, and another list."""
    path = folder / f"{count}.csv"
    other = Laboratory(count, users=laboratory.users, seed=laboratory.seed + count)
    with path.open("w", encoding="utf-8") as file:
        file.write("experiment_id,user_id,experiment_compound_ids,experiment_run_time\n")
        for number, line in enumerate(line for lines in experiment_lines(other) for line in lines):
            cells = line.partition(",")[2]
            known = number % 10 == 0
            file.write(f"{number + 1 if known else 2 * laboratory.experiments + number},{cells}")
    return str(path)


def _server_seconds(made: Scratch) -> float:
    """What the embedded server has had of the processor so far, all its processes."""
    pid = made.project / ".labmart" / "data" / "postmaster.pid"
    if not pid.exists():
        return 0.0
    postmaster = psutil.Process(int(pid.read_text(encoding="utf-8").split()[0]))
    # Those that have ended are in its own count.
    ended = postmaster.cpu_times()
    alive = [child.cpu_times() for child in postmaster.children(recursive=True)]
    return (
        ended.children_user
        + ended.children_system
        + sum(child.user + child.system for child in alive)
    )
