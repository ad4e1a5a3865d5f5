"""Looking at an embedded server from outside."""

from __future__ import annotations

import os
from contextlib import closing

import psycopg2
import pytest

from loader.embedded import ServerPaths, server_process, url_of

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def ask(place: ServerPaths, sql: str) -> object:
    connection = psycopg2.connect(url_of(place))
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        cursor.execute(sql)
        row = cursor.fetchone() if cursor.description else None
    return row[0] if row else None


def pid_of(place: ServerPaths) -> int:
    server = server_process(place.data)
    assert server is not None
    return server.pid
