"""What failed in a dbt run, in a person's words: names, descriptions, offending rows.

dbt leaves run_results.json (what happened, the compiled SQL) and manifest.json (descriptions,
paths) in target/.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from loader.database import Database
from loader.dbt import BuildOptions, BuildResult, build, one_build_at_a_time
from loader.engines import Engine, dbt_session, dbt_turn
from loader.errors import LabmartError
from loader.last_build import code_of, last_build
from loader.project import Project
from loader.table import layout

SAMPLE_ROWS = 10
UNCHANGED = "Nothing has changed since the last green build (--full builds all the same)."
_BAD = ("error", "fail", "runtime error", "partial success")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Lines of dbt's messages that say nothing about the fault.
_BOILERPLATE = re.compile(
    r"^\s*(> in macro |> called by |compiled code at |Encountered an error:?\s*$|"
    r"(Database|Compilation|Runtime|Parsing|Dependency) Error\s*$)"
)


@dataclass(frozen=True)
class _Files:
    results: list[dict[str, object]]
    manifest: Mapping[str, object]

    def node(self, unique_id: str) -> Mapping[str, object]:
        for part in ("nodes", "unit_tests"):
            entries = self.manifest.get(part)
            if isinstance(entries, dict) and unique_id in entries:
                found = entries[unique_id]
                return found if isinstance(found, dict) else {}
        return {}


@dataclass(frozen=True)
class Failure:
    """A node that failed, or dbt itself (then `name` is 'dbt'); `lines` tell a person."""

    name: str
    lines: list[str]


def failures(
    project: Project,
    result: BuildResult,
    open_database: Callable[[], AbstractContextManager[Engine]] | None,
    width: int | None = None,
) -> list[Failure]:
    """What failed in a run that did. `open_database` fetches the offending rows."""
    files = _read_files(project, result.invocation_id)
    found = [
        Failure(
            str(files.node(str(entry.get("unique_id"))).get("name") or entry.get("unique_id")),
            _of_node(entry, files, open_database, width),
        )
        for entry in files.results
        if entry.get("status") in _BAD
    ]
    found = found or [Failure("dbt", clean(message)) for message in result.errors]
    silent = ["dbt ended without saying why. Its log is logs/dbt.log.", *result.noise[-5:]]
    return found or [Failure("dbt", silent)]


def report(
    project: Project,
    result: BuildResult,
    open_database: Callable[[], AbstractContextManager[Engine]] | None,
    width: int | None = None,
) -> list[str]:
    """The lines to print for a failed run."""
    found = failures(project, result, open_database, width)
    return [line for failure in found for line in ("", *failure.lines)]


def summary(result: BuildResult) -> str:
    """One line about the whole run."""
    if not result.nodes:
        return f"dbt built nothing, {result.seconds:.1f} s"
    done = ("success", "pass", "warn")
    failed = ("error", "fail")
    nodes = result.count(tests=False, statuses=done)
    passed = result.count(tests=True, statuses=("pass", "success"))
    warned = result.count(tests=True, statuses=("warn",))
    skipped = result.count(tests=True, statuses=("skipped",)) + result.count(
        tests=False, statuses=("skipped",)
    )
    bad = result.count(tests=True, statuses=failed) + result.count(tests=False, statuses=failed)
    parts = [f"{nodes} models and seeds built", f"{passed} tests passed", f"{bad} failed"]
    if warned:
        parts.append(f"{warned} warned")
    parts.append(f"{skipped} skipped")
    return f"{', '.join(parts)}, {result.seconds:.1f} s"


def clean(message: str) -> list[str]:
    """dbt's message without colours, boilerplate and surplus blank lines."""
    plain = _COLOUR.sub("", message).replace("\r", "")
    if "Traceback (most recent call last)" in plain:
        # A fault that dbt did not expect: its last line says what it was.
        return [plain.strip().splitlines()[-1], "More is in logs/dbt.log."]
    lines = [line.rstrip() for line in plain.splitlines() if not _BOILERPLATE.match(line)]
    return [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])] or [plain]


def _of_node(
    entry: Mapping[str, object],
    files: _Files,
    open_database: Callable[[], AbstractContextManager[Engine]] | None,
    width: int | None,
) -> list[str]:
    unique_id = str(entry.get("unique_id"))
    node = files.node(unique_id)
    kind = unique_id.partition(".")[0]
    name = str(node.get("name") or unique_id)
    path = str(node.get("original_file_path") or "")
    lines = [f"{'FAILED' if entry.get('status') == 'fail' else 'ERROR'}  {kind} {name}  ({path})"]
    description = " ".join(str(node.get("description") or "").split())
    if description and kind in ("test", "unit_test"):
        lines.append(f"  {description}")
    sql = entry.get("compiled_code")
    if kind == "test" and entry.get("status") == "fail" and isinstance(sql, str) and open_database:
        return lines + _offending_rows(entry, sql, open_database, width)
    return lines + [f"  {line}".rstrip() for line in _message(entry, name, path)]


def _message(entry: Mapping[str, object], name: str, path: str) -> list[str]:
    lines = clean(str(entry.get("message") or ""))
    # "Database Error in model users (models/…)" repeats our own headline.
    headline = re.compile(rf"^\s*\w+ Error in .*{re.escape(name)} \({re.escape(path)}\)\s*$")
    return [line for line in lines if not headline.match(line)]


def _offending_rows(
    entry: Mapping[str, object],
    sql: str,
    open_database: Callable[[], AbstractContextManager[Engine]],
    width: int | None,
) -> list[str]:
    try:
        with open_database() as source:
            columns, rows = source.query(sql, SAMPLE_ROWS)
    except LabmartError as error:
        return [f"  {entry.get('message')}", f"  The offending rows cannot be shown: {error}"]
    table = layout(columns, rows, None if width is None else width - 2)
    failures = entry.get("failures")
    shown = f", the first {len(rows)} of them" if failures != len(rows) else ""
    return [
        f"  {failures} offending rows{shown}:",
        *(f"  {line}" for line in table.lines),
    ]


def _read_files(project: Project, invocation_id: str) -> _Files:
    results = _json(project.target / "run_results.json")
    metadata = results.get("metadata")
    # After a parse error the files are those of an earlier run.
    is_ours = isinstance(metadata, dict) and metadata.get("invocation_id") == invocation_id
    entries = results.get("results") if is_ours else None
    return _Files(
        results=[entry for entry in entries or [] if isinstance(entry, dict)]
        if isinstance(entries, list)
        else [],
        manifest=_json(project.target / "manifest.json"),
    )


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


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
        for line in report(database.project, result, database.open, width):
            print(line, file=sys.stderr)
        print(file=sys.stderr)
    print(summary(result), file=sys.stderr)
    return result.exit_code == 0
