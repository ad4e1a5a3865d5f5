"""How a job's work goes, as events of the job: what the command shows on a terminal."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal
from uuid import UUID

from loader.load import Outcome, Table
from loader.printable import printable
from loader.progress import NodeResult
from loader.project import Project
from loader.service.journal import Journal
from loader.service.model import FileResult, Progress, RejectedExample

# So many seconds are between two writes of progress.
_PACE = 0.5
# Not nodes of a build to a person.
_NO_NODE = ("analysis", "operation")


class LoadEvents:
    """A report of `load`; see `loader.load.Report`. What it says was loaded only `load` knows."""

    def __init__(self, journal: Journal, job_id: UUID) -> None:
        self._journal = journal
        self._jobs = [job_id]
        self._table: Table | None = None
        self._told = 0.0
        self.outcomes: list[Outcome] = []

    def say(self, text: str) -> None:
        """See `Report`."""
        self._journal.event(self._jobs, "message", {"text": printable(text)})

    def working(self, text: str) -> None:
        """See `Report`; fetching and unpacking is told as the work on a file."""
        if self._is_time():
            self._tell(Progress(step="loading", file=printable(text)))

    def begin(self, table: Table) -> None:
        """See `Report`."""
        self._table = table

    def advance(self, position: int, records: int) -> None:
        """See `Report`; comes from another thread."""
        if self._table is not None and self._is_time():
            self._tell(
                Progress(
                    step="loading",
                    file=self._table.name,
                    records=records,
                    bytes=min(position, self._table.bytes),
                    bytes_total=self._table.bytes,
                )
            )

    def end(self, outcome: Outcome) -> None:
        """See `Report`."""
        self.outcomes.append(outcome)

    def _is_time(self) -> bool:
        now = time.monotonic()
        if now - self._told < _PACE:
            return False
        self._told = now
        return True

    def _tell(self, progress: Progress) -> None:
        self._journal.progress(self._jobs, progress)


def file_result(outcome: Outcome, *, refused: bool = False) -> FileResult:
    """What became of a table. `refused`: nothing was loaded, because of another one too."""
    notes = [printable(note) for note in outcome.table.reader.notes]
    state: Literal["loaded", "known", "refused"] = "refused" if refused else "loaded"
    if outcome.state == "known":
        state = "known"
        notes.append(f"already loaded ({printable(outcome.same_as)})")
    elif outcome.state != "refused" and refused:
        notes.append("not loaded, because another file was refused")
    return FileResult(
        file=outcome.table.name,
        input=outcome.table.reader.input.name,
        state=state,
        load_id=None if refused else outcome.load_id,
        records_read=outcome.records_read,
        records_rejected=outcome.records_rejected,
        notes=notes,
        rejected_examples=[
            RejectedExample(line=one.line, rule=one.rule, detail=one.detail)
            for one in outcome.first_rejected
        ],
    )


class BuildEvents:
    """The progress of a build; see `loader.progress.BuildProgress`."""

    def __init__(self, journal: Journal, jobs: Sequence[UUID], project: Project) -> None:
        self._journal = journal
        self._jobs = jobs
        self._manifest = project.target / "manifest.json"
        self._total: int | None = None
        self._done = 0
        self._told = 0.0

    def begin(self) -> None:
        """See `BuildProgress`."""
        self._tell()

    def started(self, name: str) -> None:  # noqa: ARG002 -- the protocol's
        """See `BuildProgress`."""
        if self._total is None:
            # dbt has written it before the first node. Its own total counts unit tests twice.
            self._total = nodes_of(self._manifest)
            self._tell()

    def finished(self, node: NodeResult) -> None:
        """See `BuildProgress`."""
        self._done += 1
        data = {"name": node.name, "kind": node.kind, "status": node.status}
        self._journal.event(self._jobs, "node", {**data, "seconds": node.seconds})
        if time.monotonic() - self._told >= _PACE:
            self._tell()

    def end(self) -> None:
        """See `BuildProgress`."""
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        progress = Progress(step="building", nodes_done=self._done, nodes_total=self._total)
        self._journal.progress(self._jobs, progress)


def nodes_of(manifest: Path) -> int | None:
    """How many nodes a whole build has; None when the manifest cannot be read."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
        kinds = [node["resource_type"] for node in content["nodes"].values()]
        return sum(kind not in _NO_NODE for kind in kinds) + len(content["unit_tests"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
