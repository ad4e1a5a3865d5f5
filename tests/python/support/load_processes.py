"""Loads as processes, for the tests that disturb them, and what stands in the raw tables."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from pathlib import Path

from support import in_process
from support.databases import Database
from support.engines import Engine, Postgres, Rows
from support.in_process import Done
from support.project import ROOT

from loader.embedded import ROLE, ServerPaths

# What a load may take on a busy machine before a test says that it hangs.
PATIENCE = 120.0
_CHOSEN_LOCK = 77
_WORDS = {
    "users": ("user_id,name,email,signup_date", "{0},Name {0},u{0}@x.org,2024-01-02"),
    "user_experiments": (
        "experiment_id,user_id,experiment_compound_ids,experiment_run_time",
        "{0},{0},1;2;3,12.5",
    ),
    "compounds": ("compound_id,compound_name,compound_structure", "{0},Compound {0},C{0}H8"),
}


def table_text(kind: str, ids: Iterable[int], *, broken_every: int = 0, padding: int = 0) -> str:
    """A CSV file of an input; broken lines are among the others, names are padded."""
    header, pattern = _WORDS[kind]
    lines = [header]
    for number in ids:
        lines.append(pattern.format(number) + "x" * padding)
        if broken_every and number % broken_every == 0:
            lines.append(f"{number},too few" if number % 2 else f'{number},"never closed')
    return "\n".join(lines) + "\n"


def write_table(
    path: Path, kind: str, ids: Iterable[int], *, broken_every: int = 0, padding: int = 0
) -> Path:
    """The same as a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = table_text(kind, ids, broken_every=broken_every, padding=padding)
    path.write_text(text, encoding="utf-8")
    return path


def begin(
    database: Database | Engine,
    *arguments: str | Path,
    stdin: int = subprocess.DEVNULL,
    temporary: Path | None = None,
    project: Path = ROOT,
) -> subprocess.Popen[str]:
    """Start `labmart …` in a session of its own, so that what it starts can be told."""
    extra = {"TMPDIR": str(temporary)} if temporary else {}
    return subprocess.Popen(
        [sys.executable, "-m", "loader", *map(str, arguments)],
        cwd=project,
        env={**os.environ, **database.environment, **extra},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end_of(process: subprocess.Popen[str], patience: float = PATIENCE) -> Done:
    """Wait for it. A process that hangs is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"it hangs; so far it said: {out} {err}") from None
    assert "Traceback" not in err, err
    return Done(process.returncode, out, err)


def labmart(database: Database, *arguments: str | Path, temporary: Path | None = None) -> Done:
    """Run `labmart …` to its end; in this process, where nothing asks for one of its own."""
    if temporary:
        return end_of(begin(database, *arguments, temporary=temporary))
    return in_process.labmart(ROOT, *map(str, arguments), env=database.environment)


def session_of(leader: int) -> list[int]:
    """Which processes there are in the session that a process began."""
    return [pid for pid, (_, session) in _processes().items() if session == leader]


def children_of(parent: int) -> list[int]:
    return [pid for pid, (above, _) in _processes().items() if above == parent]


def open_files(pid: int) -> list[str]:
    """The paths that a process has open; none when it has gone."""
    found = []
    with suppress(OSError):
        for path in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.append(str(path.readlink()))
    return found


def processor_seconds(pid: int) -> float:
    """The processor time that a process has used; 0 when it has gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0.0
    user, system = text.rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def _processes() -> dict[int, tuple[int, int]]:
    """Parent and session of every process that has not ended; see proc_pid_stat(5)."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            text = path.read_text(encoding="utf-8", errors="replace")
            state, parent, _, session = text.rpartition(")")[2].split()[:4]
            if state != "Z":
                found[int(path.parent.name)] = int(parent), int(session)
    return found


def state_of(database: Database) -> dict[str, Rows]:
    """Every row of every raw table."""
    return Postgres(database).everything("labmart_raw")


def nobody_loads(database: Database) -> None:
    """Wait until the server has ended what a process that is gone had begun."""
    sessions = (
        "select count(*) from pg_stat_activity where datname = current_database() "
        "and application_name like 'labmart%'"
    )
    wait_for(lambda: database.rows(sessions) == [(0,)])


def wait_for(condition: Callable[[], bool], patience: float = PATIENCE) -> None:
    """Wait until it holds; fail if it never does."""
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def held_in_copy(database: Database, table: str) -> AbstractContextManager[Callable[[], None]]:
    """The server stops in the middle of a COPY into a table, from its first row.

    Gives a function that waits until a load is held. Leaving the block lets it go on.
    """
    trigger = (
        f"create or replace trigger hold before insert on labmart_raw.{table} "
        "for each row when (new.line = 2) execute function public.hold()"
    )
    return _held(database, trigger, "copy%")


def held_at_commit(database: Database) -> AbstractContextManager[Callable[[], None]]:
    """The same in a load's COMMIT."""
    trigger = (
        "create constraint trigger hold after insert on labmart_raw.loads "
        "deferrable initially deferred for each row execute function public.hold()"
    )
    return _held(database, trigger, "commit%")


@contextmanager
def _held(database: Database, trigger: str, statement: str) -> Iterator[Callable[[], None]]:
    with closing(database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "create or replace function public.hold() returns trigger language plpgsql as "
            f"'begin perform pg_advisory_xact_lock_shared({_CHOSEN_LOCK}); return new; end'; "
            + trigger
        )
        cursor.execute(f"select pg_advisory_lock({_CHOSEN_LOCK})")

        def is_held() -> bool:
            cursor.execute(
                "select count(*) from pg_stat_activity where datname = current_database() "
                "and application_name like 'labmart%%' and wait_event = 'advisory' "
                "and query ilike %s",
                (statement,),
            )
            return cursor.fetchone() == (1,)

        try:
            yield lambda: wait_for(is_held)
        finally:
            cursor.execute(f"select pg_advisory_unlock({_CHOSEN_LOCK})")


def database_of(place: ServerPaths) -> Database:
    """The database of an embedded server, as a server of one's own."""
    return Database(str(place.run), "5432", ROLE, "labmart", "")
