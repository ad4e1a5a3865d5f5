"""`labmart load --check`: what the models would make of the files, without loading them.

The files are written as in any load, but never committed. In the same transaction, every model the
verdict needs is computed as a temporary table, once before the files are written and once after;
then everything is rolled back. No other load can begin meanwhile.

The seeds are read from their files, because they may never have been built.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from loader.contract import DEFAULT_MART
from loader.database import Database
from loader.dbt import Manifest, compile_models, parents_of
from loader.engines import quote
from loader.engines.raw_store import RawStore
from loader.errors import DatabaseFault
from loader.load import LoadOptions, LoadReport, MaxRejected, Table, load
from loader.show import COUNTS, ISSUES, RECONCILIATION, Account, unread

_MARTS = (ISSUES, COUNTS, RECONCILIATION, DEFAULT_MART, "users", "experiments", "compounds")
_OPEN = "select count(*) from {input_issues} where status = 'open'"
# The figures reported before and after: name, and SQL of the value.
_FIGURES = {
    "users": "select count(*) from {users}",
    "experiments": "select count(*) from {experiments}",
    "compounds": "select count(*) from {compounds}",
    "experiments per user": "select max(avg_experiment_count) from {user_features}",
    "experiments per active user": (
        "select max(avg_experiments_per_active_user) from {user_features}"
    ),
    "run time in all": "select sum(total_exp_time_per_user) from {user_features}",
    "open errors": f"{_OPEN} and severity = 'error'",
    "open warnings": f"{_OPEN} and severity = 'warning'",
}
_EXAMPLES = 10


def check(
    paths: Sequence[str], database: Database, options: LoadOptions, report: LoadReport
) -> list[Table]:
    """Report what loading the files would change. Raises as `load` does, and BuildFailed."""
    if database.project.marts_file.exists():
        judge = partial(_Verdict, database, report.say, options.max_rejected)
        try:
            return load(paths, database, options, report, judge)
        except DatabaseFault as fault:
            # Users with read access only can still have the form checked.
            report.say(f"The rows cannot be judged. {fault}")
    return load(paths, database, options, report)


class _Verdict:
    """The models of a project, computed before and after files are written.

    Raises BuildFailed if dbt cannot compile them.
    """

    def __init__(
        self,
        database: Database,
        say: Callable[[str], None],
        limit: MaxRejected | None,
        store: RawStore,
    ) -> None:
        self._project, self._store = database.project, store
        self._say, self._limit = say, limit
        if store.runs_models:
            self._nodes = _in_order(compile_models(self._project, database.profile, _MARTS))
            self._before = _figures(store, self._create("before"))

    def __call__(self, tables: Sequence[Table]) -> list[str]:
        """Report what would become of the records and the figures; return what refuses them."""
        store = self._store
        if not store.runs_models:
            self._say("On this engine only the form of the files is checked; a build judges rows.")
            return []
        store.settle()
        store.analyze()
        names = self._create("after")
        problems = []
        for table in tables:
            [counts] = store.run(
                "select records_read, accepted_rows, rejected_lines, rejected_rows, "
                f"superseded_rows from {names[RECONCILIATION]} "
                f"where load_id = {table.entry.load_id:d}"
            )
            account = Account(*counts)
            for line in (f"{table.name}: {account}", *_issues(store, names, table)):
                self._say(line)
            if self._limit and not self._limit.allows(account.rejected, account.read):
                problems.append(
                    f"{table.name}: {account.rejected:,} of {account.read:,} records would "
                    f"be rejected, and {self._limit} are allowed (--max-rejected)."
                )
        self._say("What would change in the marts:")
        for name, *values in zip(_FIGURES, self._before, _figures(store, names), strict=True):
            shown = ("none" if value is None else f"{value:,}" for value in dict.fromkeys(values))
            self._say(f"    {name:<28} {' → '.join(shown)}")
        return problems

    def _create(self, when: str) -> dict[str, str]:
        """Create all seeds and models as temporary relations; return their SQL names."""
        store = self._store
        own = {
            node["relation_name"]: quote(f"labmart_{when}_{node['name']}") for node in self._nodes
        }
        relations = re.compile("|".join(map(re.escape, own)))
        for node in self._nodes:
            name = own[node["relation_name"]]
            if node["resource_type"] == "seed":
                _fill(store, name, self._project.root / node["original_file_path"])
                continue
            sql = relations.sub(lambda match: own[match[0]], node["compiled_code"])
            is_view = node["config"]["materialized"] == "view"
            store.run(f"create temporary {'view' if is_view else 'table'} {name} as\n{sql}")
            if not is_view:
                store.run(f"analyze {name}")
        return {node["name"]: own[node["relation_name"]] for node in self._nodes}


def _in_order(manifest: Manifest) -> list[Mapping[str, Any]]:
    """The seeds and the compiled models, in dependency order."""
    nodes = {
        key: node
        for key, node in manifest["nodes"].items()
        if node["resource_type"] == "seed"
        or (node.get("compiled") and node["config"]["materialized"] != "ephemeral")
    }
    before = {key: parents_of(node) for key, node in manifest["nodes"].items()}
    return [nodes[key] for key in TopologicalSorter(before).static_order() if key in nodes]


def _fill(store: RawStore, name: str, path: Path) -> None:
    """Create a temporary table from a seed, as dbt reads it: text, with empty cells as NULL."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        header, *rows = [row for row in csv.reader(file) if row]
    columns = ", ".join(f"{quote(column)} text" for column in header)
    store.run(f"create temporary table {name} ({columns})")
    values = []
    for row in rows:
        cells = (store.engine.literal(cell.strip()) if cell.strip() else "null" for cell in row)
        values.append(f"({', '.join(cells)})")
    if values:
        store.run(f"insert into {name} values {', '.join(values)}")


def _figures(store: RawStore, names: Mapping[str, str]) -> Sequence[object]:
    figures = ", ".join(f"({sql})" for sql in _FIGURES.values())
    [row] = store.run(f"select {figures}".format_map(names))
    return row


def _issues(store: RawStore, names: Mapping[str, str], table: Table) -> Iterator[str]:
    """What would be wrong: counts by rule, the first lines, and remedies."""
    which = f"where load_id = {table.entry.load_id:d}"
    rules = store.run(
        "select severity, rule, open_issues, column_name, unreadable_cells, filled_cells, remedy "
        f"from {names[COUNTS]} {which} order by severity, open_issues desc, rule"
    )
    yield from (f"    {count:>8,}  {severity:<8} {rule}" for severity, rule, count, *_ in rules)
    examples = store.run(
        f"select line, rule, message, column_name, value from {names[ISSUES]} {which} "
        f"order by severity, line, rule limit {_EXAMPLES}"
    )
    for line, rule, message, column, value in examples:
        cell = "" if value is None or column is None else f" ({column}: {value!r})"
        yield f"    line {line}, {rule}: {message}{cell}"
    if (more := sum(count for _, _, count, *_ in rules) - len(examples)) > 0:
        yield f"    and {more:,} more"
    for _, _, _, column, unreadable, filled, remedy in rules:
        if remedy:
            yield f"    {unread(unreadable, filled, column, remedy)}"
