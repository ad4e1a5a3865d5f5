"""What dbt's own YAML declares about a table: its columns, their types and meanings.

models/marts/_marts.yml declares the marts, models/staging/_sources.yml the inputs, the ledger and
the rejected lines, seeds/_seeds.yml the seeds. A column's description is a doc block in
models/*.md. Everything is read from these files, so that it is available before the first build and
no second list can differ from it; a test compares it with dbt's manifest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

from loader.errors import ConfigError, UnknownMart
from loader.project import Project, converted, read_yaml

DEFAULT_MART = "user_features"
MART_STATUS = "mart_status"

_BLOCK = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}", re.DOTALL)
_DOC = re.compile(r"\{\{\s*doc\(\s*['\"](\w+)['\"]\s*\)\s*\}\}")


class Column(msgspec.Struct, frozen=True):
    """A column; `type` under PostgreSQL's name, such as numeric(18,6)."""

    name: str
    type: str


class MadeOf(msgspec.Struct, frozen=True):
    """The mart whose rows a figure is made of: those with the figure's key in `by`, else all."""

    mart: str
    by: str = ""


class Meta(msgspec.Struct, frozen=True):
    """`config: meta` of a table or column."""

    made_of: MadeOf | None = None

    input: bool = False
    natural_key: str = ""
    order_by: tuple[str, ...] = ()
    required: bool = True
    header_names: tuple[object, ...] = ()
    decimal: str | None = None
    dates: str | None = None
    list_separator: str | None = None
    id_prefix: str | None = None
    durations: str | None = None


class Config(msgspec.Struct, frozen=True):
    alias: str = ""
    meta: Meta = Meta()


class DeclaredColumn(Column, frozen=True, rename={"type": "data_type"}):
    name: str = ""
    type: str = ""
    description: str = ""
    config: Config = Config()


class DeclaredTable(msgspec.Struct, frozen=True):
    """A model, a seed, or a table of a source. dbt validates the rest of the YAML."""

    name: str = ""
    description: str = ""
    config: Config = Config()
    columns: tuple[DeclaredColumn, ...] = ()
    data_tests: list[object] = []


class _Source(msgspec.Struct, frozen=True):
    tables: list[DeclaredTable] = []


@dataclass(frozen=True)
class Contract:
    """A declared table. `order_by` is its own order; with `has_key` it identifies each row."""

    name: str
    description: str
    columns: tuple[DeclaredColumn, ...]
    order_by: tuple[str, ...]
    has_key: bool

    def column(self, name: str) -> DeclaredColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)

    def described(self) -> dict[str, object]:
        """The mart for programs. `grain_columns` identify each row; if empty, rows may be equal."""
        return {
            "name": self.name,
            "description": self.description,
            "grain_columns": list(self.order_by) if self.has_key else [],
            "columns": [
                {"name": column.name, "type": column.type, "description": column.description}
                for column in self.columns
            ],
        }


# A labmart view beside the marts, not a model: dbt would know nothing of tests still to run.
STATUS = Contract(
    MART_STATUS,
    "Of each published mart: its build, and that build's tests, newest load and open issues.",
    (),
    ("mart",),
    has_key=True,
)


def mart_contracts(project: Project) -> dict[str, Contract]:
    """The marts by relation name, in the order of the file. Raises ConfigError."""
    return _contracts(project, project.marts_file, "models")


def mart_contract(project: Project, name: str) -> Contract:
    """The mart of that name, or `mart_status`. Raises ConfigError, and UnknownMart with names."""
    contracts = mart_contracts(project) | {STATUS.name: STATUS}
    if name not in contracts:
        raise UnknownMart(name, list(contracts))
    return contracts[name]


def raw_contract(project: Project, name: str) -> Contract:
    """The ledger, or the rejected lines. Raises ConfigError if the YAML lacks it."""
    contracts = _contracts(project, project.sources_file, "sources")
    if name not in contracts:
        raise ConfigError(project.sources_file, f"it declares no table {name!r}.")
    return contracts[name]


def declared_tables(path: Path, kind: str) -> list[DeclaredTable]:
    """The `models`, the `seeds`, or the tables of all `sources` of a file. Raises ConfigError."""
    document = read_yaml(path)
    nodes = document.get(kind) if isinstance(document, dict) else None
    if not isinstance(nodes, list):
        raise ConfigError(path, f"it has no list `{kind}:`.")
    if kind != "sources":
        return converted(path, kind, nodes, list[DeclaredTable])
    sources = converted(path, kind, nodes, list[_Source])
    return [table for source in sources for table in source.tables]


def _contracts(project: Project, path: Path, kind: str) -> dict[str, Contract]:
    blocks = {
        name: text
        for markdown in sorted((project.root / "models").rglob("*.md"))
        for name, text in _BLOCK.findall(markdown.read_text(encoding="utf-8"))
    }

    def described(text: str) -> str:
        return " ".join(_DOC.sub(lambda doc: blocks.get(doc[1], ""), text).split())

    contracts = {}
    for table in declared_tables(path, kind):
        name, key = table.config.alias or table.name, _key(table)
        if untyped := [column.name for column in table.columns if not column.type]:
            raise ConfigError(path, f"the column {untyped[0]} of {name} has no `data_type`.")
        columns = tuple(
            msgspec.structs.replace(
                column,
                type=column.type.replace(", ", ","),
                description=described(column.description),
            )
            for column in table.columns
        )
        order = table.config.meta.order_by or key
        contracts[name] = Contract(name, described(table.description), columns, order, bool(key))
    return contracts


def _key(table: DeclaredTable) -> tuple[str, ...]:
    """The columns of the first test `unique_combination_of_columns`."""
    for test in table.data_tests:
        match test:
            case {
                "unique_combination_of_columns": {
                    "arguments": {"combination_of_columns": [*columns]}
                }
            }:
                return tuple(map(str, columns))
    return ()
