"""Faults of databases, named and embedded."""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

from pathlib import Path

from loader.errors.base import EXIT_BUILD, EXIT_DATABASE, LabmartError


class QueryFailed(LabmartError):
    """The database answered a query with an error."""

    exit_code = EXIT_BUILD

    def __init__(self, where: str, said: str) -> None:
        self.where = where
        self.said = said
        super().__init__(f"The database {where} refused a query: {said}")


class QueryTooSlow(LabmartError):
    """A query of a request was ended because it took, or waited, too long."""

    exit_code = EXIT_DATABASE

    def __init__(self, where: str, seconds: float) -> None:
        self.where = where
        self.seconds = seconds
        super().__init__(
            f"The database {where} did not answer the query within {seconds:g} seconds. Ask for "
            "fewer rows (filters, limit), or again when no build is at work."
        )


class TooBusy(LabmartError):
    """So many queries of requests run at once that one more would have to wait too long."""

    exit_code = EXIT_DATABASE

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"{most} queries are at work already. Call again in some seconds.")


class RolesRefused(LabmartError):
    """The user may not make roles."""

    exit_code = EXIT_DATABASE

    def __init__(self, where: str, said: str) -> None:
        self.where = where
        self.said = said
        super().__init__(
            f"The roles cannot be made on {where}: {said} Nothing was changed. `labmart roles "
            "--sql` prints what somebody with the right to do it can run."
        )


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


class FileTaken(DatabaseUnreachable):
    """Another program has the database file open."""

    def __init__(self, path: Path, holder: str) -> None:
        self.path = path
        self.holder = holder
        super().__init__(
            f"The database file {path} is open in {holder}, and DuckDB lets one program write, or "
            "several read. Close it there and call again."
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
