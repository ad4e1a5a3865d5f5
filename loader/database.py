"""Prepares a target's database: starts the embedded one, or tests the connection to another."""

from __future__ import annotations

import os
import sys
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

from loader.embedded import ServerPaths, is_embedded, server_paths, start, status, url_of
from loader.engines import Engine, open_engine
from loader.errors import ConfigError, DatabaseUnreachable, UsageError
from loader.project import Profile, Project, load_profile


@dataclass(frozen=True)
class Database:
    """A project's database under one target.

    `embedded` is None for a separate server, and for an engine without a server.
    """

    project: Project
    profile: Profile
    embedded: ServerPaths | None

    def ready(self) -> None:
        """Start the embedded server, or try to connect. Raises DatabaseUnreachable."""
        if self.embedded is not None and start(self.embedded):
            print(f"started the embedded PostgreSQL in {self.embedded.home}", file=sys.stderr)
        with self.open():
            pass

    def own_server(self) -> ServerPaths:
        """The embedded server. Raises UsageError if the target does not use it."""
        if self.embedded is None:
            profile = self.profile
            why = f"{profile.engine} needs none; Spark's server is `labmart spark start`"
            if profile.engine == "postgres":
                why = f"its server is {profile.text('host')!r}, by {profile.path} or PGHOST"
            raise UsageError(
                f"The target {profile.target} does not use the embedded PostgreSQL: {why}."
            )
        return self.embedded

    def open(self) -> AbstractContextManager[Engine]:
        """Connect, starting the embedded server if needed."""
        if self.embedded is not None:
            start(self.embedded)
        return open_engine(self.profile)

    def url(self) -> str:
        """A URI for psql, without a password, or the path of a database file.

        Raises DatabaseUnreachable for a stopped embedded server, and ConfigError for an engine that
        has neither.
        """
        if self.embedded is not None:
            if not status(self.embedded).running:
                raise DatabaseUnreachable(
                    f"The embedded PostgreSQL of {self.embedded.data} is not running. Start it "
                    "with `labmart db start`."
                )
            return url_of(self.embedded)
        if self.profile.engine == "duckdb":
            return str(self.file())
        if self.profile.engine != "postgres":
            raise ConfigError(
                self.profile.path, f"target {self.profile.target!r} is neither a server nor a file."
            )
        return _url_of_profile(self.profile)

    def file(self) -> Path:
        """The file of a DuckDB database."""
        from loader.engines.duckdb import path_of

        return path_of(self.profile).absolute()


def find_database(project: Project, target: str | None) -> Database:
    """The database of a target in the project's profile.

    Raises ConfigError, and UsageError if the file in PGPASSWORD_FILE cannot be read.
    """
    _read_password_file()
    profile = load_profile(project, target)
    embedded = None
    if profile.engine == "postgres" and is_embedded(profile.text("host"), project.profiles_dir):
        embedded = server_paths(project.profiles_dir)
        # PGSERVICE, PGOPTIONS, PGREQUIREAUTH and the like refer to some other server; libpq, in our
        # process and in dbt's, would apply them on the embedded server's socket too.
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]
    return Database(project=project, profile=profile, embedded=embedded)


def _read_password_file() -> None:
    """PGPASSWORD_FILE names a file with the password, the usual way to pass secrets to containers.

    It becomes PGPASSWORD, so that dbt, which we start, has it too; libpq ignores its own PGPASSFILE
    unless the reader owns the file, which is rare for a mounted secret.
    """
    named = os.environ.get("PGPASSWORD_FILE")
    if not named or os.environ.get("PGPASSWORD"):
        return
    try:
        os.environ["PGPASSWORD"] = Path(named).read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise UsageError(f"PGPASSWORD_FILE: {named} cannot be read: {reason}.") from None


def _url_of_profile(profile: Profile) -> str:
    host, port, mode = (profile.text(key) for key in ("host", "port", "sslmode"))
    user, name = quote(profile.text("user"), safe=""), quote(profile.database, safe="")
    address = (f"[{host}]" if ":" in host else quote(host, safe="")) + f":{port or 5432}"
    options = {"sslmode": mode} if mode else {}
    if host.startswith("/"):
        address = ""
        options = {"host": host, "port": port or "5432"} | options
    query = urlencode(options, safe="/", quote_via=quote)
    return f"postgresql://{user}@{address}/{name}{query and '?'}{query}"
