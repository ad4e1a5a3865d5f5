"""The service's connections to PostgreSQL; see schema for what it keeps there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool

from loader.engines.postgres import parameters, where
from loader.errors import DatabaseFault
from loader.service.settings import Settings

Pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]
AsyncConnection = psycopg.AsyncConnection[DictRow]
Connection = psycopg.Connection[DictRow]

_NAME = "labmart service"


def conninfo(settings: Settings, name: str = _NAME) -> str:
    """How libpq connects, with the service's schema first in the search path."""
    # In `options` a backslash keeps what follows it from being a separator.
    path = '"' + settings.schema.replace('"', '""') + '"'
    escaped = "".join(f"\\{sign}" if sign in "\\ " else sign for sign in path)
    options = f"-c search_path={escaped},pg_catalog -c timezone=UTC -c statement_timeout=60000"
    return make_conninfo(**parameters(settings.profile, name), options=options)


def make_pool(settings: Settings, *, most: int, name: str = _NAME) -> Pool:
    """A pool that is not open yet. Rows come as dictionaries."""
    role = settings.profile.text("role")

    async def configure(connection: AsyncConnection) -> None:
        await connection.set_autocommit(True)
        if role:
            await connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))

    return AsyncConnectionPool(
        conninfo(settings, name),
        connection_class=psycopg.AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row},
        configure=configure,
        check=AsyncConnectionPool.check_connection,
        min_size=1,
        max_size=most,
        timeout=10,
        open=False,
    )


@contextmanager
def connected(settings: Settings, name: str = _NAME) -> Iterator[Connection]:
    """One connection in autocommit mode, whose schema is ready.

    Raises DatabaseUnreachable, or DatabaseFault.
    """
    # Makes the embedded server run, and says in a person's words what is in the way.
    settings.database.ready()
    try:
        with psycopg.connect(
            conninfo(settings, name), autocommit=True, row_factory=dict_row
        ) as connection:
            role = settings.profile.text("role")
            if role:
                connection.execute(sql.SQL("set role {}").format(sql.Identifier(role)))
            yield connection
    except psycopg.Error as error:
        said = " ".join(str(error).split())
        raise DatabaseFault(where(settings.profile), said, "Look into its log.") from None
