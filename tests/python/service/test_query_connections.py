"""The connections that the service reads by: what they may do, and what goes wrong with them."""

from __future__ import annotations

import threading
from contextlib import closing

import pytest
from support.query_tables import ROWS, THINGS, Asker

from loader.errors import (
    DatabaseUnreachable,
    NotBuilt,
    QueryTooSlow,
    TooBusy,
)
from loader.service import marts

pytestmark = pytest.mark.slow


def another(asker: Asker, monkeypatch: pytest.MonkeyPatch, **environment: str) -> Asker:
    """Another client of the same marts, with connections of its own."""
    for name, value in {**asker.database.environment, **environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LABMART_SCHEMA", asker.schema)
    return Asker(asker.database, asker.project, asker.schema)


def test_a_mart_that_is_not_built_says_so(asker: Asker) -> None:
    asker.sql("drop table if exists notes")
    with pytest.raises(NotBuilt, match="labmart build"):
        asker.ask("notes")


def test_nothing_can_be_written_and_a_slow_query_ends(
    asker: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = asker.source("things")
    with asker.marts.reading(source) as engine:
        [(read_only,)] = engine.all("select current_setting('transaction_read_only')")
        assert read_only == "on"
    with pytest.raises(Exception, match="read-only"), asker.marts.reading(source) as engine:
        engine.all(f'delete from "{asker.schema}".things returning 1')
    monkeypatch.setattr(marts, "STATEMENT_SECONDS", 0.1)
    hasty = another(asker, monkeypatch)
    with (
        closing(hasty),
        pytest.raises(QueryTooSlow),
        hasty.marts.reading(source) as engine,
    ):
        engine.all("select pg_sleep(60)")


def test_a_swap_while_a_query_runs_is_seen_by_the_next(asker: Asker) -> None:
    """In a transaction that had looked before the swap, the new table would have no rows."""
    source = asker.source("things")
    with asker.marts.reading(source) as engine:
        swap = threading.Thread(target=asker.fill, args=("things", THINGS, ROWS))
        swap.start()
        [(count,)] = engine.all("select count(*) from " + source.qualified_name)
        assert count == len(ROWS)
    swap.join()
    assert len(asker.items("things")) == len(ROWS)


def test_a_table_that_stays_locked_is_told(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marts, "LOCK_SECONDS", 0.1)
    hasty = another(asker, monkeypatch)
    with closing(asker.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(f'begin; lock table "{asker.schema}".things')
        with closing(hasty), pytest.raises(QueryTooSlow):
            hasty.ask("things")


def test_no_more_queries_than_connections(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(marts, "MOST_CONNECTIONS", 1)
    monkeypatch.setattr(marts, "WAIT_SECONDS", 0.05)
    few = another(asker, monkeypatch)
    source = asker.source("things")
    with closing(few), few.marts.reading(source), pytest.raises(TooBusy):
        few.ask("things")


def test_a_connection_that_broke_is_replaced(asker: Asker) -> None:
    asker.items("things")
    with closing(asker.database.connect()) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity "
            "where datname = current_database() and application_name in ('labmart', 'labmart read')"
        )
    assert len(asker.items("things")) == len(ROWS)


def test_a_server_that_is_gone_is_told(asker: Asker, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = another(asker, monkeypatch, PGPORT="1")
    with closing(gone), pytest.raises(DatabaseUnreachable):
        gone.ask("things")
