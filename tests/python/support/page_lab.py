"""The laboratory that the page's tests look at: real files, loaded and built by the real service.

Sixty users and one more whose number JavaScript cannot hold, some of them with hostile names; a
file of experiments in which each kind of trouble occurs; a load that was undone. The service has no
worker once the laboratory is made: a job that the page asks for waits until it is cancelled.
"""

from __future__ import annotations

import csv
import io
import random
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from support.databases import Database
from support.serving import NO_BUILD, Server, serving_here

Row = dict[str, Any]

NAMES = (
    *("Marie Curie", "Irène Joliot-Curie", "Barbara McClintock", "Mary Anning", "Hedy Lamarr"),
    *("Katalin Karikó", "Tu Youyou", "Wu Jianxiong"),
)
# Markup, a turned direction, a formula, a name that does not end, what unseen characters do.
HOSTILE = (
    "<img src=x onerror=\"document.title='gone'\">",
    "report\u202egpj.exe",
    "=cmd|' /C calc'!A0",
    "x" * 10_000,
    '"><script>document.title="gone"</script>',
    "'); document.title='gone'; ('",
    "javascript:document.title='gone'",
    "\u0007\u001b[31m",
)
COMPOUNDS = (
    *("Caffeine", "Aspirin", "Ibuprofen", "Paracetamol", "Penicillin", "Morphine"),
    *("Quinine", "Insulin", "Warfarin", "Atropine"),
)
_USERS = "user_id,name,email,signup_date"
USERS = 60
# Greater than any whole number that JavaScript tells from its neighbours.
GREAT_ID = 900719925474099345
USERS_FILE = f"{HOSTILE[0]}.csv"
EXPERIMENTS_FILE = "monday.csv"
UNDONE_FILE = "last year.csv"
# So often does each trouble occur in the file of experiments, and one line in that of the users.
ISSUES = {
    "invalid_id": 4,
    "unknown_user": 4,
    "duplicate_id": 4,
    "invalid_run_time": 4,
    "wrong_column_count": 2,
    "nul_byte": 1,
}
WARNINGS = ISSUES["invalid_run_time"]
ERRORS = sum(ISSUES.values()) - WARNINGS


def _csv(header: str, rows: Sequence[Sequence[object]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return text.getvalue().encode()


def users_file() -> bytes:
    """The users; the last line has a NUL byte in it and is rejected."""
    names = [*NAMES, *HOSTILE]
    names += [f"Student {number}" for number in range(len(names) + 1, USERS + 1)]
    rows: list[tuple[object, ...]] = [
        (number, name, f"u{number}@lab.example", f"2024-03-{number % 28 + 1:02}")
        for number, name in enumerate(names, 1)
    ]
    rows.append((GREAT_ID, "Grace Hopper", "", ""))
    return _csv(_USERS, rows) + b"70,Nul\0,,\n"


def experiments_file() -> bytes:
    """The experiments: of few users many, of many users few; trouble every seventh line."""
    chance = random.Random(5)
    rows: list[tuple[object, ...]] = []
    for user in range(1, USERS + 1):
        for _ in range(min(int(chance.expovariate(0.3)), 40)):
            # The first compounds are used most.
            listed = [int(chance.triangular(1, len(COMPOUNDS) + 1, 1)) for _ in range(2)]
            run_time = round(chance.gammavariate(4, 6), 2)
            rows.append((len(rows) + 1, user, ";".join(map(str, listed)), run_time))
    trouble: list[tuple[object, ...]] = [
        *((name, 1, "1", 5) for name in (HOSTILE[0], HOSTILE[1], HOSTILE[2], HOSTILE[4])),
        *((2000 + number, 999, "1", 5) for number in range(ISSUES["unknown_user"])),
        *((1, 1, "1", 5) for _ in range(ISSUES["duplicate_id"])),
        *((3000 + number, 2, "2", "fast") for number in range(ISSUES["invalid_run_time"])),
        *(("too", "few") for _ in range(ISSUES["wrong_column_count"])),
    ]
    for number, row in enumerate(trouble, 1):
        rows.insert(number * 7, row)
    return _csv("experiment_id,user_id,experiment_compound_ids,experiment_run_time", rows)


def compounds_file() -> bytes:
    """The compounds."""
    rows = [(number, name, "C8H10N4O2") for number, name in enumerate(COMPOUNDS, 1)]
    return _csv("compound_id,compound_name,compound_structure", rows)


@dataclass(frozen=True)
class PageLab:
    """The running service with its laboratory."""

    server: Server

    @property
    def address(self) -> str:
        """The page's address."""
        return self.server.url + "/"

    def ask(
        self, path: str, parameters: Mapping[str, str], method: str = "GET", content: bytes = b""
    ) -> Any:
        """What the API answers, as JSON."""
        with self.server.client() as client:
            answer = client.request(method, path, params=parameters, content=content)
        assert answer.is_success, answer.text
        return answer.json()

    def items(self, path: str, **parameters: str) -> list[Row]:
        """The items of a list of the API."""
        items: list[Row] = self.ask(path, parameters)["items"]
        return items

    def mart(self, name: str, **parameters: str) -> list[Row]:
        """All rows of a mart."""
        return self.items(f"/v1/marts/{name}", limit="0", **parameters)

    def column(self, mart: str, column: str, **parameters: str) -> list[str]:
        """A column of a mart as text."""
        return [str(row[column]) for row in self.mart(mart, **parameters)]

    def description(self, mart: str, column: str = "") -> str:
        """What the API says of a mart, or of a column of it, without its marks of code."""
        [described] = [each for each in self.ask("/v1/marts", {}) if each["name"] == mart]
        if column:
            [described] = [each for each in described["columns"] if each["name"] == column]
        return str(described["description"]).replace("`", "")

    def load_id(self, file: str) -> int:
        """The load of a file."""
        [load] = [load for load in self.items("/v1/loads") if load["file"] == file]
        return int(load["load_id"])

    def jobs(self) -> list[Row]:
        """The jobs, the newest first."""
        return self.items("/v1/jobs", limit="500")

    def newest_job(self) -> Row:
        """The job that was asked for last."""
        return self.items("/v1/jobs", limit="1")[0]

    def post(self, path: str) -> Row:
        """Ask for a job, or for the end of one; the job."""
        job: Row = self.ask(path, {}, "POST")
        return job

    def upload(self, name: str, content: bytes, **parameters: str) -> Row:
        """Upload a file; the job."""
        job: Row = self.ask(f"/v1/files/{quote(name)}", parameters, "PUT", content)
        return job

    def cancel_all(self) -> None:
        """Let no job wait for the next test."""
        for job in self.jobs():
            if job["state"] == "queued":
                self.post(f"/v1/jobs/{job['id']}/cancel")

    @contextmanager
    def other_tables(self, *statements: str, loaded: bool = True) -> Iterator[None]:
        """Other marts for a while: copies of them, changed by the statements.

        In a statement `labmart.` are the copies. `loaded=False`: there is no raw table either.
        """
        away = f"away_{uuid.uuid4().hex[:8]}"
        moved = {"labmart": away} if loaded else {"labmart": away, "labmart_raw": f"{away}_raw"}
        for schema, kept in moved.items():
            self.server.rows(f"alter schema {schema} rename to {kept}")
        try:
            self.server.rows("create schema labmart")
            for (name,) in self.server.rows(
                "select c.relname from pg_class as c "
                f"where c.relkind in ('r', 'v', 'm') and c.relnamespace = '{away}'::regnamespace"
            ):
                self.server.rows(f"create table labmart.{name} as table {away}.{name}")
            for statement in statements:
                self.server.rows(statement)
            yield
        finally:
            for schema, kept in moved.items():
                self.server.rows(f"drop schema if exists {schema} cascade")
                self.server.rows(f"alter schema {kept} rename to {schema}")


@contextmanager
def page_lab(project: Path, database: Database) -> Iterator[PageLab]:
    """The service with its laboratory, made by uploads, a build and an undo."""
    with serving_here(project, database, worker=True) as server:
        lab = PageLab(server)
        marya = _csv(_USERS, [(1, "Marya Sklodowska", "", "")])
        _done(server, lab.upload(UNDONE_FILE, marya, **NO_BUILD))
        jobs = [
            lab.post(f"/v1/loads/{lab.load_id(UNDONE_FILE)}/undo?build=false"),
            lab.upload("compounds.csv", compounds_file(), **NO_BUILD),
            lab.upload(USERS_FILE, users_file(), **NO_BUILD),
            lab.upload(EXPERIMENTS_FILE, experiments_file()),
        ]
        for job in jobs:
            _done(server, job)
    # A page asks for forty things when it opens, and the tests open one after the other.
    with serving_here(project, database) as server:
        yield PageLab(server)


def _done(server: Server, job: Mapping[str, object]) -> None:
    ended = server.ended(str(job["id"]), 300)
    assert ended["state"] == "done", ended
