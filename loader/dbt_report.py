"""What failed in a dbt run, in a person's words: names, descriptions, offending rows.

dbt leaves run_results.json (what happened, the compiled SQL) and manifest.json (descriptions,
paths) in target/.
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from loader.database import Database
from loader.dbt import FAILED, BuildOptions, BuildResult, build, one_build_at_a_time
from loader.engines import Engine, dbt_session, dbt_turn
from loader.errors import LabmartError
from loader.last_build import code_of, last_build
from loader.progress import TESTS
from loader.project import Project
from loader.table import layout

SAMPLE_ROWS = 10
UNCHANGED = "Nothing has changed since the last green build (--full builds all the same)."
_BAD = (*FAILED, "runtime error", "partial success")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Lines of dbt's messages that say nothing about the fault.
_BOILERPLATE = re.compile(
    r"^\s*(> in macro |> called by |compiled code at |Encountered an error:?\s*$|"
    r"(Database|Compilation|Runtime|Parsing|Dependency) Error\s*$)"
)


class _Node(msgspec.Struct, frozen=True):
    """A node of manifest.json."""

    name: str
    original_file_path: str = ""
    description: str = ""


class _Manifest(msgspec.Struct, frozen=True):
    nodes: dict[str, _Node] = {}
    unit_tests: dict[str, _Node] = {}


class _Result(msgspec.Struct, frozen=True):
    """How a node ended, of run_results.json."""

    unique_id: str
    status: str
    message: str | None = None
    failures: int | None = None
    compiled_code: str | None = None


class _Metadata(msgspec.Struct, frozen=True):
    invocation_id: str | None = None


class _Results(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    results: list[_Result] = []


@dataclass(frozen=True)
class Failure:
    """A node that failed, or dbt itself (then `name` is 'dbt'); `lines` tell a person."""

    name: str
    lines: list[str]


def failures(
    project: Project,
    result: BuildResult,
    open_database: Callable[[], AbstractContextManager[Engine]],
    width: int | None = None,
) -> list[Failure]:
    """What failed in a run that did. `open_database` fetches the offending rows."""
    written = _read(project.target / "run_results.json", _Results)
    manifest = _read(project.target / "manifest.json", _Manifest)
    nodes = manifest.nodes | manifest.unit_tests
    # After a parse error the files are those of an earlier run.
    is_ours = written.metadata.invocation_id == result.invocation_id
    failed = []
    for entry in written.results if is_ours else ():
        if entry.status in _BAD:
            node = nodes.get(entry.unique_id) or _Node(entry.unique_id)
            failed.append(Failure(node.name, _lines(entry, node, open_database, width)))
    failed = failed or [Failure("dbt", clean(message)) for message in result.errors]
    silent = ["dbt ended without saying why. Its log is logs/dbt.log.", *result.noise[-5:]]
    return failed or [Failure("dbt", silent)]


def summary(result: BuildResult) -> str:
    """One line about the whole run."""
    if not result.nodes:
        return f"dbt built nothing, {result.seconds:.1f} s"
    warned = result.count("warn", tests=True)
    parts = [
        f"{result.count('success', 'pass', 'warn', tests=False)} models and seeds built",
        f"{result.count('success', 'pass', tests=True)} tests passed",
        f"{result.count(*FAILED)} failed",
        *([f"{warned} warned"] if warned else []),
        f"{result.count('skipped')} skipped",
    ]
    return f"{', '.join(parts)}, {result.seconds:.1f} s"


def clean(message: str) -> list[str]:
    """dbt's message without colours, boilerplate and surplus blank lines."""
    plain = _COLOUR.sub("", message).replace("\r", "")
    if "Traceback (most recent call last)" in plain:
        # A fault that dbt did not expect: its last line says what it was.
        return [plain.strip().splitlines()[-1], "More is in logs/dbt.log."]
    lines = [line.rstrip() for line in plain.splitlines() if not _BOILERPLATE.match(line)]
    return [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])] or [plain]


def _lines(
    entry: _Result,
    node: _Node,
    open_database: Callable[[], AbstractContextManager[Engine]],
    width: int | None,
) -> list[str]:
    kind = entry.unique_id.partition(".")[0]
    path = node.original_file_path
    has_failed = entry.status == "fail"
    lines = [f"{'FAILED' if has_failed else 'ERROR'}  {kind} {node.name}  ({path})"]
    if node.description.strip() and kind in TESTS:
        lines.append(f"  {' '.join(node.description.split())}")
    if kind == "test" and has_failed and entry.compiled_code:
        try:
            with open_database() as source:
                columns, rows = source.query(entry.compiled_code, SAMPLE_ROWS)
        except LabmartError as error:
            problem = f"  The offending rows cannot be shown: {error}"
            return [*lines, f"  {entry.message}", problem]
        shown = f", the first {len(rows)} of them" if entry.failures != len(rows) else ""
        table = layout(columns, rows, None if width is None else width - 2)
        lines.append(f"  {entry.failures} offending rows{shown}:")
        return lines + [f"  {line}" for line in table.lines]
    # "Database Error in model users (models/…)" repeats our own headline.
    headline = re.compile(rf"^\s*\w+ Error in .*{re.escape(node.name)} \({re.escape(path)}\)\s*$")
    message = [line for line in clean(entry.message or "") if not headline.match(line)]
    return lines + [f"  {line}".rstrip() for line in message]


_Artifact = TypeVar("_Artifact", _Results, _Manifest)


def _read(path: Path, kind: type[_Artifact]) -> _Artifact:
    """What dbt has written; empty if it has not."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError):
        return kind()


def run_and_report(database: Database, options: BuildOptions) -> bool:
    """Make the database ready, run dbt build, tell on stderr how it went; True if all is well.

    A build that would do again what the last one did is left out.
    """
    database.ready()
    project, profile = database.project, database.profile
    # Before dbt reads the files, which may be edited meanwhile.
    code = None if options.extra else code_of(project, profile, options.vars)
    with one_build_at_a_time(project), dbt_turn(profile), last_build(profile) as last:
        if code and not options.full and last.is_current(code):
            print(UNCHANGED, file=sys.stderr)
            return True
        if not options.extra:
            last.begin()
        with dbt_session(profile):
            result = build(project, options)
        if code and result.exit_code == 0:
            last.keep(code, project.target / "manifest.json", result.invocation_id)
    for message in dict.fromkeys(result.warnings):
        print("dbt warns:", *clean(message), sep="\n  ", file=sys.stderr)
    if result.exit_code != 0:
        width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
        for failure in failures(project, result, database.open, width):
            print("", *failure.lines, sep="\n", file=sys.stderr)
        print(file=sys.stderr)
    print(summary(result), file=sys.stderr)
    return result.exit_code == 0
