"""dbt in this process, on a copy of the project: starting it takes longer than a small build."""

from __future__ import annotations

import os
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path

from dbt.artifacts.schemas.run import RunExecutionResult
from dbt.cli.main import dbtRunner, dbtRunnerResult
from dbt.contracts.graph.manifest import Manifest
from dbt.contracts.graph.nodes import ManifestNode

# What they write is read by tests; of others it is with `--write-json` before the command.
_WRITE = ("compile", "docs", "parse", "source")


@dataclass
class DbtProject:
    """A copy of the project and one target; the environment says which database it means.

    Each target schema (LABMART_SCHEMA) has a folder of artifacts of its own, as a developer's
    checkout and a CI job have, and is parsed once.
    """

    root: Path
    target: str
    # With the nodes as they were parsed: a run compiles them, and would not do so again.
    _manifests: dict[str, tuple[Manifest, dict[str, ManifestNode]]] = field(default_factory=dict)

    def run(self, *command: str) -> dbtRunnerResult:
        """Run dbt, whatever comes of it. Only some commands write what they have done."""
        places = ("--project-dir", str(self.root), "--profiles-dir", str(self.root))
        artifacts = ("--target-path", str(self.artifacts), "--target", self.target)
        manifest, nodes = self._manifests.get(self._schema, (None, {}))
        if manifest is not None:
            manifest.nodes = deepcopy(nodes)
        # The manifest takes a third of a small run to write.
        quietly = ["--quiet", *([] if command[0] in _WRITE else ["--no-write-json"])]
        done = dbtRunner(manifest=manifest).invoke([*quietly, *command, *places, *artifacts])
        let_go()
        return done

    def dbt(self, *command: str) -> dbtRunnerResult:
        """Run dbt; fails the test with what dbt says of the nodes that failed."""
        done = self.run(*command)
        assert done.success, f"dbt {' '.join(command)}\n{failures(done)}"
        return done

    def parse(self) -> Manifest:
        """Read the project anew, as it stands now for the present target schema."""
        self._manifests.pop(self._schema, None)
        done = self.dbt("parse")
        assert isinstance(done.result, Manifest)
        self._manifests[self._schema] = (done.result, deepcopy(dict(done.result.nodes)))
        return done.result

    def manifest(self) -> Manifest:
        """The project as it was parsed last for the present target schema."""
        known = self._manifests.get(self._schema)
        return known[0] if known else self.parse()

    @property
    def artifacts(self) -> Path:
        """Where dbt writes manifest.json and the like."""
        return self.root / "target" / self._schema

    @property
    def _schema(self) -> str:
        return os.environ.get("LABMART_SCHEMA", "labmart")


def failures(done: dbtRunnerResult) -> str:
    """What a run says of the nodes that failed, or of itself; '' if all is well."""
    results = done.result.results if isinstance(done.result, RunExecutionResult) else ()
    bad = [
        f"{result.node.name}: {result.status}: {result.message}"
        for result in results
        if result.status not in ("success", "pass", "skipped")
    ]
    return "" if done.success else "\n".join(bad) or repr(done.exception)


def let_go() -> None:
    """Close what dbt keeps open between two runs in one process: DuckDB's file is locked by it."""
    from dbt.adapters.duckdb.connections import DuckDBConnectionManager

    # dbt-duckdb carries no types.
    DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
