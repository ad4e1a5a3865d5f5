"""What can go wrong, and the exit codes.

    LabmartError
    ├── UsageError (2)               a wrong call
    │   ├── UnknownMart, UnknownColumn, UnknownEnding, NotBuilt, TooLargeForFormat
    │   ├── NoProject
    │   ├── ProfileError             profiles.yml cannot be used
    │   ├── SourcesError             _sources.yml cannot be used
    │   ├── NothingToLoad, MissingExtra
    │   └── UnknownLoad, WrongStatus
    ├── FileRefused (3)              one input file cannot be read as it is
    ├── FilesRefused (3)             the same of all files of a call; nothing was written
    ├── BuildFailed (1)              dbt or one of its tests failed
    ├── QueryFailed (1)              the database refused a query
    ├── ReaderGone (0)               nobody reads our output any more
    ├── DatabaseFault (4)            the database failed in the middle of the work
    └── DatabaseUnreachable (4)
        ├── ServerDown, LoginRefused, UnknownDatabase, UnknownRole, WrongEncoding
        └── EmbeddedError            the embedded PostgreSQL
            ├── WrongVersion, PrivateDirectoryRefused, NotTraversable
            └── NotRunning, StartFailed, StopFailed

Each says what is wrong, where, and what to do next.
"""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

EXIT_DONE = 0
EXIT_BUILD = 1
EXIT_USAGE = 2
EXIT_FILE = 3
EXIT_DATABASE = 4
# What a shell reports for a process that SIGINT ended.
EXIT_INTERRUPTED = 130


class LabmartError(Exception):
    """Anything expected to go wrong. `str()` of it is a message for a person."""

    exit_code = EXIT_USAGE


class UsageError(LabmartError):
    """The call cannot be meant as it stands."""

    exit_code = EXIT_USAGE


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class NoProject(UsageError):
    """No dbt_project.yml where one was looked for."""

    def __init__(self, looked_in: Sequence[Path]) -> None:
        self.looked_in = tuple(looked_in)
        places = ", ".join(str(place) for place in self.looked_in)
        super().__init__(
            f"No dbt_project.yml found (looked in {places}). Go into the project, or name it "
            "with --project-dir or LABMART_PROJECT_DIR."
        )


class ProfileError(UsageError):
    """profiles.yml is missing, unreadable or says something labmart cannot use."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class UnknownMart(UsageError):
    """No mart has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(
            f"There is no mart {name!r}.{_did_you_mean(name, self.known)} "
            f"The marts are: {', '.join(self.known)}."
        )


class UnknownColumn(UsageError):
    """The mart has no such column."""

    def __init__(self, mart: str, column: str, known: Sequence[str]) -> None:
        self.mart = mart
        self.column = column
        self.known = tuple(known)
        super().__init__(
            f"The mart {mart} has no column {column!r}.{_did_you_mean(column, self.known)} "
            f"Its columns are: {', '.join(self.known)}."
        )


class UnknownEnding(UsageError):
    """The ending of the file names no format that labmart writes."""

    def __init__(self, path: Path, known: Sequence[str]) -> None:
        self.path = path
        self.known = tuple(known)
        super().__init__(
            f"{path}: the ending says what to write, and {path.suffix or 'no ending'!r} is none "
            f"of {', '.join(self.known)}."
        )


class NotBuilt(UsageError):
    """The mart's relation does not exist in the database."""

    def __init__(self, relation: str, where: str) -> None:
        self.relation = relation
        self.where = where
        super().__init__(f"There is no table {relation} in {where} yet. Run `labmart build` first.")


class TooLargeForFormat(UsageError):
    """The rows do not fit the format."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem} Nothing was written. Use csv or parquet.")


class SourcesError(UsageError):
    """The source YAML does not specify inputs that can be loaded."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class NothingToLoad(UsageError):
    """A PATH means no file."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class MissingExtra(UsageError):
    """A package for this kind of address is not installed."""

    def __init__(self, name: str, extra: str) -> None:
        self.name = name
        self.extra = extra
        super().__init__(f"{name}: this needs `pip install 'labmart[{extra}]'`.")


class UnknownLoad(UsageError):
    """The ledger has no such load."""

    def __init__(self, load_id: int) -> None:
        self.load_id = load_id
        super().__init__(f"There is no load {load_id}. `labmart loads` lists them.")


class WrongStatus(UsageError):
    """The load's status does not allow this."""

    def __init__(self, load_id: int, problem: str) -> None:
        self.load_id = load_id
        self.problem = problem
        super().__init__(f"Load {load_id} {problem}")


class FileRefused(LabmartError):
    """One input file cannot be read as it is. `problem` begins with `:` or `, line N:`."""

    exit_code = EXIT_FILE

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"{name}{problem}")


class FilesRefused(LabmartError):
    """Input files cannot be read as they are; nothing was written. Lists every problem found."""

    exit_code = EXIT_FILE

    def __init__(self, problems: Sequence[str], *, undone: str = "built") -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"Nothing was {undone}, because files cannot be read as they are:\n{listed}"
        )


class BuildFailed(LabmartError):
    """dbt, or one of its tests, failed. The report has been written to stderr by then."""

    exit_code = EXIT_BUILD


class ReaderGone(LabmartError):
    """Whoever read our stdout has seen enough, as in `labmart show | head`."""

    exit_code = EXIT_DONE


class QueryFailed(LabmartError):
    """The database answered a query with an error."""

    exit_code = EXIT_BUILD

    def __init__(self, where: str, said: str) -> None:
        self.where = where
        self.said = said
        super().__init__(f"The database {where} refused a query: {said}")


class DatabaseFault(LabmartError):
    """The database failed in the middle of the work; its transaction left no trace.

    `outcome` says so; when the connection breaks during the commit itself, nobody can know.
    """

    exit_code = EXIT_DATABASE

    def __init__(
        self, where: str, problem: str, next_step: str, *, outcome: str = "Nothing was written."
    ) -> None:
        self.where = where
        self.problem = problem
        super().__init__(f"The database {where}: {problem} {outcome} {next_step}")


class DatabaseUnreachable(LabmartError):
    """No usable connection to the database."""

    exit_code = EXIT_DATABASE


class ServerDown(DatabaseUnreachable):
    """Nothing answers where the server should be."""

    def __init__(self, where: str, said: str, next_step: str) -> None:
        self.where = where
        self.said = said
        super().__init__(f"No PostgreSQL answers at {where}: {said} {next_step}")


class LoginRefused(DatabaseUnreachable):
    """The server does not accept the user's password (or the lack of one)."""

    def __init__(self, where: str, user: str, said: str) -> None:
        self.where = where
        self.user = user
        self.said = said
        super().__init__(
            f"The server {where} does not let {user!r} in: {said} "
            "Set PGPASSWORD, or put the password into ~/.pgpass; PGUSER names another user."
        )


class UnknownDatabase(DatabaseUnreachable):
    """The server has no such database."""

    def __init__(self, where: str, database: str) -> None:
        self.where = where
        self.database = database
        super().__init__(
            f"The server {where} has no database {database!r}. Create it "
            f"(`createdb {database}`), or name another one with PGDATABASE."
        )


class UnknownRole(DatabaseUnreachable):
    """The server has no such user."""

    def __init__(self, where: str, user: str) -> None:
        self.where = where
        self.user = user
        super().__init__(
            f"The server {where} has no user {user!r}. Create it (`createuser {user}`), or name "
            "another one with PGUSER."
        )


class WrongEncoding(DatabaseUnreachable):
    """The database cannot hold every text."""

    def __init__(self, where: str, database: str, encoding: str) -> None:
        self.where = where
        self.database = database
        self.encoding = encoding
        super().__init__(
            f"The database {database!r} at {where} has the encoding {encoding}, and labmart needs "
            "UTF8. Make one (`createdb --encoding UTF8 --template template0 NAME`) and name it "
            "with PGDATABASE."
        )


class EmbeddedError(DatabaseUnreachable):
    """The embedded PostgreSQL cannot be used."""


class NotRunning(EmbeddedError):
    """The embedded PostgreSQL is stopped."""

    def __init__(self, data: Path) -> None:
        self.data = data
        super().__init__(
            f"The embedded PostgreSQL of {data} is not running. Start it with `labmart db start`."
        )


class WrongVersion(EmbeddedError):
    """The data directory was made by another major version."""

    def __init__(self, data: Path, found: str, wanted: int) -> None:
        self.data = data
        self.found = found
        self.wanted = wanted
        super().__init__(
            f"{data} was made by PostgreSQL {found}, and this labmart brings PostgreSQL {wanted}. "
            "Dump it with the labmart that made it (`pg_dump`), or, if all of it can be loaded "
            f"again, move {data} away and run `labmart build`."
        )


class PrivateDirectoryRefused(EmbeddedError):
    """A directory that must be ours alone is not."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(
            f"{path} {problem}, so somebody else could reach the database through it. "
            "Remove it and call again."
        )


class NotTraversable(EmbeddedError):
    """The account that runs the server cannot reach its files."""

    def __init__(self, path: Path, account: str, wanted: Path) -> None:
        self.path = path
        self.account = account
        self.wanted = wanted
        super().__init__(
            "PostgreSQL does not run as root, and as "
            f"{account!r} it cannot reach {wanted}: {path} is closed to it. Run labmart as "
            f"an ordinary user, move the project to where {account!r} can go (such as /srv), "
            "or name a server of your own with PGHOST."
        )


class StartFailed(EmbeddedError):
    """The server, or initdb, ended before it could be used."""

    def __init__(self, what: str, data: Path, last_lines: str, hint: str = "") -> None:
        self.what = what
        self.data = data
        self.last_lines = last_lines
        said = f" It said:\n{last_lines}" if last_lines else ""
        super().__init__(f"{what} for {data}.{f' {hint}' if hint else ''}{said}")


class StopFailed(EmbeddedError):
    """The server does not end."""

    def __init__(self, pid: int, problem: str) -> None:
        self.pid = pid
        super().__init__(f"The embedded PostgreSQL (process {pid}) could not be stopped: {problem}")
