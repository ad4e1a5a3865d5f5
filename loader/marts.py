"""The marts that models/marts/_marts.yml declares.

dbt's own YAML is the list: a mart that is declared there can be shown and exported. A mart is
called by its relation's name, which is `config: alias` where there is one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from loader.destinations import Destination, Selection, named
from loader.errors import ConfigError, UnknownColumn, UnknownMart
from loader.profile import read_yaml

DEFAULT_MART = "user_features"


@dataclass(frozen=True)
class Mart:
    """One declared mart; `order_by` is the order in which it is printed."""

    name: str
    order_by: tuple[str, ...]


def read_marts(path: Path) -> dict[str, Mart]:
    """All marts by name, in the order of the file. Raises ConfigError if it cannot be read."""
    document = read_yaml(path)
    models = document.get("models") if isinstance(document, dict) else None
    if not isinstance(models, list):
        raise ConfigError(path, "it has no list `models:`.")
    marts = [_mart(entry) for entry in models if isinstance(entry, dict) and "name" in entry]
    return {mart.name: mart for mart in marts}


def find_mart(path: Path, name: str) -> Mart:
    """The mart of that name. Raises UnknownMart with the names that there are."""
    marts = read_marts(path)
    if name not in marts:
        raise UnknownMart(name, list(marts))
    return marts[name]


def select(
    mart: Mart,
    source: Destination,
    *,
    columns: tuple[str, ...] = (),
    equal: tuple[tuple[str, str], ...] = (),
    limit: int | None = None,
) -> Selection:
    """Choose columns and rows of a mart as it stands in the database; no columns means all.

    Raises NotBuilt, or UnknownColumn.
    """
    present = source.columns(mart.name)
    names = [column.name for column in present]
    chosen = []
    for wanted in columns or names:
        column = named(present, wanted)
        if column is None:
            raise UnknownColumn(mart.name, wanted, names)
        chosen.append(column)
    order = [column for key in mart.order_by if (column := named(present, key))]
    return Selection(
        relation=mart.name,
        columns=tuple(chosen),
        # Without a declared order all columns together are one: the same rows, the same output.
        order_by=tuple(order) or present,
        equal=equal,
        limit=limit,
    )


def _mart(entry: dict[str, object]) -> Mart:
    config = _dict(entry.get("config"))
    meta = _dict(config.get("meta"))
    order = meta.get("order_by")
    return Mart(
        name=str(config.get("alias") or entry["name"]),
        order_by=tuple(str(key) for key in order) if isinstance(order, list) else (),
    )


def _dict(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
