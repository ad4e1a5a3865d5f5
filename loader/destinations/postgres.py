"""Reading from PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import psycopg2
import psycopg2.extensions

from loader.destinations import Column, Row, Selection
from loader.destinations.postgres_connection import one_line, open_connection, where
from loader.destinations.sql import query_of, quote, source_of
from loader.errors import DatabaseUnreachable, NotBuilt, QueryFailed
from loader.profile import Profile

_TEXT_TYPES = ("text", "character varying", "character", "name", "citext")


class Postgres:
    """An open connection; see the protocol `Destination`."""

    def __init__(self, connection: psycopg2.extensions.connection, profile: Profile) -> None:
        self._connection = connection
        self._schema = profile.schema
        self._where = where(profile)

    def __enter__(self) -> Postgres:
        return self

    def __exit__(self, *exception: object) -> None:
        self._connection.close()

    def columns(self, relation: str) -> tuple[Column, ...]:
        """See `Destination`; raises NotBuilt."""
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(
                "select a.attname, format_type(a.atttypid, a.atttypmod) "
                "from pg_attribute as a join pg_class as c on c.oid = a.attrelid "
                "join pg_namespace as n on n.oid = c.relnamespace "
                "where n.nspname = %s and c.relname = %s and a.attnum > 0 and not a.attisdropped "
                "order by a.attnum",
                (self._schema, relation),
            )
            found = tuple(Column(name=name, type=kind) for name, kind in cursor)
        if not found:
            raise NotBuilt(f"{self._schema}.{relation}", self._where)
        return found

    def rows(self, selection: Selection) -> Iterator[Row]:
        """See `Destination`."""
        # A named cursor leaves the result with the server and fetches it in portions.
        with self._faults(), self._connection.cursor("labmart_rows") as cursor:
            cursor.itersize = 5000
            cursor.execute(self._sql(selection))
            yield from cursor

    def count(self, selection: Selection) -> int:
        """See `Destination`."""
        source = self._source(selection)
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(f"select count(*) from {source}")
            row = cursor.fetchone()
        return int(row[0]) if row else 0

    def write_csv(self, selection: Selection, file: IO[bytes]) -> None:
        """See `Destination`."""
        sql = f"copy ({self._sql(selection, bools_as_words=True)}) to stdout (format csv, header)"
        with self._faults(), self._connection.cursor() as cursor:
            cursor.copy_expert(sql, file)

    def query(self, sql: str, limit: int) -> tuple[tuple[Column, ...], list[Row]]:
        """See `Destination`."""
        with self._faults(), self._connection.cursor() as cursor:
            cursor.execute(f"select * from (\n{sql}\n) as labmart_query limit {limit:d}")
            columns = tuple(
                Column(name=item.name, type=_type_name(item.type_code))
                for item in cursor.description or ()
            )
            return columns, list(cursor)

    def _sql(self, selection: Selection, *, bools_as_words: bool = False) -> str:
        def shown(column: Column) -> str:
            name = quote(column.name)
            # COPY writes t and f; as text they are true and false.
            as_words = bools_as_words and column.type == "boolean"
            return f"{name}::text as {name}" if as_words else name

        listed = ", ".join(shown(column) for column in selection.columns)
        return query_of(selection, listed, self._source(selection), _order_key)

    def _source(self, selection: Selection) -> str:
        return source_of(selection, [self._schema], literal=self._literal)

    def _literal(self, value: str) -> str:
        adapted = psycopg2.extensions.QuotedString(value)
        adapted.prepare(self._connection)
        return adapted.getquoted().decode()

    @contextmanager
    def _faults(self) -> Iterator[None]:
        """Turn the driver's errors into ours."""
        try:
            yield
        except psycopg2.OperationalError as error:
            if self._connection.closed or error.pgcode is None:
                raise DatabaseUnreachable(
                    f"The connection to {self._where} was lost: {one_line(error)} Call again."
                ) from None
            raise QueryFailed(self._where, one_line(error)) from None
        except psycopg2.Error as error:
            raise QueryFailed(self._where, one_line(error)) from None
        finally:
            if not self._connection.closed:
                self._connection.rollback()


def connect(profile: Profile) -> Postgres:
    """Connect as dbt would. Raises DatabaseUnreachable with what to do next."""
    return Postgres(open_connection(profile, "labmart"), profile)


def _order_key(column: Column) -> str:
    # Code point order is the same on every server; a server's own collation is not.
    is_text = column.type.split("(", 1)[0].strip() in _TEXT_TYPES
    collation = ' collate "C"' if is_text else ""
    return f"m.{quote(column.name)}{collation} nulls first"


_NUMBERS = {20: "bigint", 21: "smallint", 23: "integer", 700: "real", 701: "double precision"}


def _type_name(oid: int) -> str:
    """Enough of a result's types to align them; 1700 is numeric."""
    return _NUMBERS.get(oid, "numeric" if oid == 1700 else "text")
