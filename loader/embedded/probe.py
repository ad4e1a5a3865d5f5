"""Asking the embedded server whether it is there."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg2
import psycopg2.extensions

from loader.embedded import postmaster
from loader.embedded.paths import DATABASE, PORT, ROLE, Place, require_private
from loader.errors import EmbeddedError


def ensure_database(place: Place) -> None:
    """Create the database `labmart` in a running server if it is missing."""
    connection = connect_to(place, "postgres")
    if connection is None:
        raise EmbeddedError(f"The embedded PostgreSQL of {place.data} stopped answering.")
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("select from pg_database where datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f'create database "{DATABASE}"')
    finally:
        connection.close()


def answers(place: Place) -> bool:
    """Whether a server of this very data directory answers at the socket."""
    connection = connect_to(place, "postgres")
    if connection is None:
        return False
    try:
        with connection.cursor() as cursor:
            cursor.execute("show data_directory")
            row = cursor.fetchone()
    finally:
        connection.close()
    served = Path(row[0]) if row else place.home
    if served.exists() and served.samefile(place.data):
        return True
    if postmaster.running_pid(place.data) is not None:
        return False  # Ours, from before the directory was moved.
    raise EmbeddedError(
        f"The server at {place.run} serves {served}, not {place.data}. Stop it, or move this "
        "project."
    )


def connect_to(place: Place, database: str) -> psycopg2.extensions.connection | None:
    """A connection to a database of the embedded server; None if nothing answers.

    Raises PrivateDirectoryRefused if others could have put a server of theirs there.
    """
    if not (place.run / f".s.PGSQL.{PORT}").exists():
        return None
    # A server that somebody else put there could take the data and say whatever we want to hear.
    require_private(place.run, os.geteuid(), _owner_of(place.data))
    try:
        return psycopg2.connect(
            host=str(place.run), port=PORT, user=ROLE, dbname=database, connect_timeout=5
        )
    except psycopg2.OperationalError:
        return None


def _owner_of(data: Path) -> int:
    """Run by root, the server may belong to another account: the one that owns its data."""
    try:
        return data.stat().st_uid
    except OSError:
        return os.geteuid()
