"""PostgreSQL servers and fresh databases."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from loader import embedded
from loader.embedded import ROLE, server_paths, start, stop


@dataclass(frozen=True)
class Database:
    """A fresh, empty database; `environment` makes the project's profile mean it."""

    host: str
    port: str
    user: str
    name: str
    password: str

    @property
    def environment(self) -> dict[str, str]:
        """The PG* variables that name it."""
        return {
            "PGHOST": self.host,
            "PGPORT": self.port,
            "PGUSER": self.user,
            "PGDATABASE": self.name,
            "PGPASSWORD": self.password,
        }

    def connect(self, name: str = "") -> psycopg2.extensions.connection:
        """A connection in autocommit mode."""
        connection = psycopg2.connect(
            host=self.host,
            port=self.port,
            user=self.user,
            dbname=name or self.name,
            password=self.password or None,
        )
        connection.autocommit = True
        return connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of statements, the last one's."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor) if cursor.description else []


@contextmanager
def embedded_server(major: int = embedded.MAJOR) -> Iterator[Database]:
    """A server of its own; the wheel brings PostgreSQL 16 as well."""
    # A short path of our own: pytest's temporary paths can be too long for a socket.
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as folder:
        place = server_paths(Path(folder).resolve())
        with pytest.MonkeyPatch.context() as patch:
            if major != embedded.MAJOR:
                older = embedded.programs().parents[1] / "pginstall" / "bin"
                patch.setattr(embedded, "programs", lambda: older)
                patch.setattr(embedded, "MAJOR", major)
                patch.setattr(embedded, "_LOCALE", ())
            # No test of this server cuts its power, and each commit would wait for the disk.
            place.home.mkdir(mode=0o700)
            place.user_settings.write_text("fsync = off\n")
            start(place)
        try:
            yield Database(str(place.run), "5432", ROLE, "postgres", "")
        finally:
            stop(place)


@contextmanager
def fresh_database(server: Database, name: str = "") -> Iterator[Database]:
    """A database that is dropped afterwards, by default with a name of its own."""
    name = name or f"test_{uuid.uuid4().hex[:12]}"
    server.rows(f"create database {name}")
    try:
        yield Database(server.host, server.port, server.user, name, server.password)
    finally:
        server.rows(f"drop database {name} with (force)")


@contextmanager
def small_disk(size: str, *options: str) -> Iterator[Path]:
    """A file system of its own in memory; skips the test where none can be mounted."""
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        disk = folder / "disk"
        disk.mkdir()
        said = ",".join((f"size={size}", "mode=755", *options))
        mount = [shutil.which("mount") or "false", "-t", "tmpfs", "-o", said, "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk needs root, and the right to mount")
        try:
            yield disk
        finally:
            subprocess.run(["umount", "--lazy", str(disk)], check=True)


@contextmanager
def small_tablespace(server: Database) -> Iterator[tuple[str, Callable[[], object]]]:
    """A tablespace on a disk of a megabyte, and what makes it a hundred times as large."""
    owner = Path(server.host).stat()
    with small_disk("1m", "mode=700", f"uid={owner.st_uid}", f"gid={owner.st_gid}") as disk:
        server.rows(f"create tablespace small location '{disk}'")
        larger = ["mount", "-o", "remount,size=100m", str(disk)]
        yield "small", lambda: subprocess.run(larger, check=True)
        server.rows("drop tablespace small")
