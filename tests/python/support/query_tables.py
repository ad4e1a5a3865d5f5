"""Tables to ask by the service's queries: a small project, and a mart made by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from pathlib import Path
from urllib.parse import urlencode

from fastapi import Request
from support.databases import Database

from loader.contract import mart_contract
from loader.database import find_database
from loader.project import Project
from loader.query import Source
from loader.service.marts import Answer, Marts
from loader.service.model import RowQuery

MARTS = """
models:
  - name: accepted_things
    description: "One row per thing (`id`). {{ doc('thing') }}"
    config:
      alias: things
      meta: {order_by: [id]}
    data_tests:
      - unique_combination_of_columns:
          arguments: {combination_of_columns: [id]}
    columns:
      - {name: id, data_type: bigint, description: "{{ doc('id') }}"}
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18, 6)"}
      - {name: day, data_type: date}
      - {name: is_good, data_type: boolean}
  - name: notes
    description: Rows without a key.
    config:
      meta: {order_by: [name]}
    columns:
      - {name: name, data_type: text}
      - {name: amount, data_type: "numeric(18, 6)"}
"""
DOCS = (
    "{% docs id %}\nThe number of a\nthing.\n{% enddocs %}\n{% docs thing %}A thing.{% enddocs %}\n"
)
THINGS = "id bigint, name text, amount numeric(18,6), day date, is_good boolean"


def project_in(folder: Path) -> Project:
    """A project that declares the marts, and whose profile is the real one."""
    from support.project import loading_project

    root = loading_project(folder)
    (root / "models" / "marts").mkdir(parents=True)
    (root / "models" / "marts" / "_marts.yml").write_text(MARTS)
    (root / "models" / "_columns.md").write_text(DOCS)
    return Project(root=root, profiles_dir=root)


@dataclass
class Asker:
    """Asks one mart as a client does, without HTTP between."""

    database: Database
    project: Project
    schema: str
    marts: Marts = field(init=False)

    def __post_init__(self) -> None:
        self.marts = Marts(find_database(self.project, None))

    def close(self) -> None:
        """Close the connections."""
        self.marts.close()

    def source(self, name: str) -> Source:
        """A mart as it is read."""
        return Source(self.schema, mart_contract(self.project, name))

    def sql(self, *statements: str) -> None:
        """Run statements in the schema of the marts."""
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'create schema if not exists "{self.schema}"')
            cursor.execute(f'set search_path to "{self.schema}"')
            for statement in statements:
                cursor.execute(statement)

    def fill(self, table: str, columns: str, rows: list[tuple[object, ...]]) -> None:
        """Put a new table with these rows into the old one's place, as dbt does."""
        with closing(self.database.connect()) as connection, connection.cursor() as cursor:
            cursor.execute(f'create schema if not exists "{self.schema}"')
            cursor.execute(f'set search_path to "{self.schema}"')
            cursor.execute(f"create table fresh ({columns})")
            for row in rows:
                marks = ", ".join(["%s"] * len(row))
                cursor.execute(f"insert into fresh values ({marks})", row)
            cursor.execute(
                f"begin; drop table if exists {table}; alter table fresh rename to {table}; commit"
            )

    def ask(
        self, mart: str, *pairs: tuple[str, object], method: str = "GET", **headers: str
    ) -> Answer:
        """The answer to a request; a header `if_none_match` is If-None-Match."""
        sent = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
        query = urlencode(pairs).encode()
        scope = {"type": "http", "method": method, "query_string": query, "headers": sent}
        request = Request({**scope, "path": f"/v1/marts/{mart}"})
        asked = RowQuery.model_validate({name: value for name, value in pairs if value != ""})
        return self.marts.answer(self.source(mart), request, asked)

    def body(self, mart: str, *pairs: tuple[str, object]) -> bytes:
        """The bytes of an answer."""
        return b"".join(self.ask(mart, *pairs).pieces())

    def items(self, mart: str, *pairs: tuple[str, object]) -> list[dict[str, object]]:
        """The rows of one page."""
        found: list[dict[str, object]] = json.loads(self.body(mart, *pairs))["items"]
        return found

    def pages(self, mart: str, *pairs: tuple[str, object]) -> Iterator[list[dict[str, object]]]:
        """Page after page, by the cursor of each."""
        after: tuple[tuple[str, object], ...] = ()
        while True:
            page = json.loads(self.body(mart, *pairs, *after))
            yield page["items"]
            if page["next"] is None:
                return
            after = (("after", page["next"]),)


Row = tuple[object, ...]
NAMES = ["id", "name", "amount", "day", "is_good"]
LONG = "x" * 150
ROWS: list[Row] = [
    (1, "B", Decimal("123456789012.123456"), date(1, 1, 1), False),
    (2, "b", Decimal("12.5"), date(2023, 1, 2), True),
    (3, "", Decimal("0"), date(9999, 12, 31), True),
    (4, 'a "quoted", one\nof two lines', Decimal("0.005"), None, None),
    (5, "ä", Decimal("0.1"), None, None),
    (6, "=1+1", Decimal("-1"), None, None),
    (7, "100%_\\", None, None, None),
    (8, None, None, None, None),
    (9, LONG + "1", None, None, None),
    (10, LONG + "0", None, None, None),
    (2**63 - 1, "'; drop table things; --", None, None, None),
]


def ids(items: list[dict[str, object]]) -> list[object]:
    """The keys of things."""
    return [item["id"] for item in items]
