"""What dbt's own YAML declares of a table: its columns, their types, and what they mean.

models/marts/_marts.yml declares the marts, models/staging/_sources.yml the ledger and the rejected
lines. A column's meaning stands in a doc block of models/*.md. All of it is read where it was
written, so that it is there before the first build, and no second list can differ from it; a test
holds it against dbt's manifest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from loader.errors import ConfigError, UnknownMart
from loader.profile import read_yaml
from loader.project import Project

LEDGER = "loads"
REJECTED = "rejected_lines"

_BLOCK = re.compile(r"\{%-?\s*docs\s+(\w+)\s*-?%\}(.*?)\{%-?\s*enddocs\s*-?%\}", re.DOTALL)
_DOC = re.compile(r"\{\{\s*doc\(\s*['\"](\w+)['\"]\s*\)\s*\}\}")


@dataclass(frozen=True)
class ContractColumn:
    """A declared column; `type` as PostgreSQL writes it, such as numeric(18,6)."""

    name: str
    type: str
    description: str

    @property
    def kind(self) -> str:
        """The type without its digits."""
        return self.type.split("(", 1)[0]


@dataclass(frozen=True)
class Contract:
    """A declared table. `order_by` is its own order; with `has_key` no two rows agree in it."""

    name: str
    description: str
    columns: tuple[ContractColumn, ...]
    order_by: tuple[str, ...]
    has_key: bool

    def column(self, name: str) -> ContractColumn | None:
        """The column of that name, if there is one."""
        return next((column for column in self.columns if column.name == name), None)


def mart_contracts(project: Project) -> dict[str, Contract]:
    """The marts by the names of their relations. Raises ConfigError for a file that is no list."""
    document = read_yaml(project.marts_file)
    return _contracts(_list(document, "models"), project, project.marts_file)


def mart_contract(project: Project, name: str) -> Contract:
    """The mart of that name. Raises UnknownMart with the names that there are."""
    contracts = mart_contracts(project)
    if name not in contracts:
        raise UnknownMart(name, list(contracts))
    return contracts[name]


def raw_contract(project: Project, name: str) -> Contract:
    """The ledger, or the rejected lines. Raises ConfigError when the YAML does not have it."""
    path = project.sources_file
    sources = _list(read_yaml(path), "sources")
    tables = [table for source in sources for table in _list(source, "tables")]
    found = _contracts(tables, project, path).get(name)
    if found is None:
        raise ConfigError(path, f"it declares no table {name!r}.")
    return found


def _contracts(entries: list[object], project: Project, path: Path) -> dict[str, Contract]:
    blocks = doc_blocks(project)
    found = [_contract(_dict(entry), blocks, path) for entry in entries]
    return {contract.name: contract for contract in found}


def doc_blocks(project: Project) -> dict[str, str]:
    """The doc blocks of the models, by name."""
    return {
        name: _one_paragraph(text)
        for path in sorted((project.root / "models").rglob("*.md"))
        for name, text in _BLOCK.findall(path.read_text(encoding="utf-8"))
    }


def _contract(entry: Mapping[str, object], blocks: Mapping[str, str], path: Path) -> Contract:
    config = _dict(entry.get("config"))
    name = str(config.get("alias") or entry.get("name"))
    columns = []
    for item in map(_dict, _list(entry, "columns")):
        if not item.get("data_type"):
            raise ConfigError(path, f"the column {item.get('name')} of {name} has no `data_type`.")
        columns.append(
            ContractColumn(
                name=str(item.get("name")),
                type=str(item["data_type"]).replace(", ", ","),
                description=_described(item.get("description"), blocks),
            )
        )
    key = _key(entry)
    order = _dict(config.get("meta")).get("order_by")
    return Contract(
        name=name,
        description=_described(entry.get("description"), blocks),
        columns=tuple(columns),
        order_by=tuple(map(str, order)) if isinstance(order, list) else key,
        has_key=bool(key),
    )


def _key(entry: Mapping[str, object]) -> tuple[str, ...]:
    """The columns of the test `is_key`; of `coalesce(load_id, -1)` it is load_id."""
    for test in map(_dict, _list(entry, "data_tests")):
        columns = _dict(_dict(test.get("is_key")).get("arguments")).get("columns")
        if isinstance(columns, list):
            return tuple(re.sub(r"^coalesce\((\w+),.*\)$", r"\1", str(one)) for one in columns)
    return ()


def _described(text: object, blocks: Mapping[str, str]) -> str:
    return _one_paragraph(_DOC.sub(lambda found: blocks.get(found[1], ""), str(text or "")))


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())


def _list(value: object, key: str) -> list[object]:
    found = _dict(value).get(key)
    return found if isinstance(found, list) else []


def _dict(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
