"""A build from start to report: published, or what failed, in plain words.

The seeds' files are read strictly before dbt reads them.

dbt leaves run_results.json (what happened, the compiled SQL) and manifest.json (descriptions,
paths) in target/.
"""

from __future__ import annotations

import csv
import re
import shlex
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from loader.contract import declared_tables
from loader.database import Database
from loader.dbt import (
    FAILED,
    DbtRun,
    Plan,
    Standby,
    artifact,
    build,
    code_of,
    one_build_at_a_time,
    parents_of,
)
from loader.engines import dbt_session
from loader.errors import ConfigError, FilesRefused, LabmartError, UsageError
from loader.progress import TESTS, Report
from loader.project import Profile
from loader.publications import (
    INCREMENT,
    NOTHING,
    WHOLE,
    GreenBuild,
    Mart,
    Relation,
    kept_builds,
    open_publications,
    replaced_rows,
)
from loader.publications.postgres import next_place
from loader.show import layout
from loader.sources import OWN_TABLES

SAMPLE_ROWS = 10
# As many problems of one seed as are useful at once.
_PROBLEMS_SHOWN = 5
# Materializations that an increment can be put into, or that hold no rows.
_CAN_GROW = ("", "ephemeral", "incremental", "seed", "snapshot", "table", "test", "view")
NOT_PUBLISHED = "Nothing was published: readers see what they saw before."
UNCHANGED = "Nothing has changed since the last successful build (--full builds anyway)."
_BAD = (*FAILED, "runtime error", "partial success")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# Lines of dbt's messages that say nothing about the fault.
_BOILERPLATE = re.compile(
    r"^\s*(> in macro |> called by |compiled code at |Encountered an error:?\s*$|"
    r"(Database|Compilation|Runtime|Parsing|Dependency) Error\s*$)"
)


@dataclass(frozen=True)
class FailedNode:
    """A node that failed, or dbt itself (then `name` is 'dbt'); `lines` explain it."""

    name: str
    lines: list[str]


def failures(run: DbtRun, database: Database, width: int | None) -> list[FailedNode]:
    """What failed in a failed run, with offending rows from the database."""
    bad, nodes = [], {}
    # After a parse error the files come from an earlier run, or do not exist.
    with suppress(OSError, ValueError):
        ended = artifact(run.artifacts, "run_results")
        if ended["metadata"]["invocation_id"] == run.invocation_id:
            manifest = artifact(run.artifacts, "manifest")
            nodes = manifest["nodes"] | manifest["unit_tests"]
            bad = [result for result in ended["results"] if result["status"] in _BAD]
    failed = [_failure(result, nodes, database, width) for result in bad]
    failed = failed or [FailedNode("dbt", clean(message)) for message in run.errors]
    silent = ["dbt ended without saying why. Its log is logs/dbt.log.", *run.noise[-5:]]
    return failed or [FailedNode("dbt", silent)]


def summary(run: DbtRun) -> str:
    """One line about the whole run."""
    if not run.nodes:
        return f"dbt built nothing, {run.seconds:.1f} s"
    warned = run.count("warn", tests=True)
    parts = [
        f"{run.count('success', 'pass', 'warn', tests=False)} models and seeds built",
        f"{run.count('success', 'pass', tests=True)} tests passed",
        f"{run.count(*FAILED)} failed",
        *([f"{warned} warned"] if warned else []),
        f"{run.count('skipped')} skipped",
    ]
    return f"{', '.join(parts)}, {run.seconds:.1f} s"


def clean(message: str) -> list[str]:
    """dbt's message without colours, boilerplate and surplus blank lines."""
    plain = _COLOUR.sub("", message).replace("\r", "")
    if "Traceback (most recent call last)" in plain:
        # A fault that dbt did not expect: the last line says what it was.
        return [plain.strip().splitlines()[-1], "More is in logs/dbt.log."]
    lines = [line.rstrip() for line in plain.splitlines() if not _BOILERPLATE.match(line)]
    return [line for i, line in enumerate(lines) if line or (i > 0 and lines[i - 1])] or [plain]


def _failure(
    result: Mapping[str, Any], nodes: Mapping[str, Any], database: Database, width: int | None
) -> FailedNode:
    kind, node = result["unique_id"].partition(".")[0], nodes.get(result["unique_id"], {})
    name, path = node.get("name", result["unique_id"]), node.get("original_file_path", "")
    has_failed = result["status"] == "fail"
    lines = [f"{'FAILED' if has_failed else 'ERROR'}  {kind} {name}  ({path})"]
    if kind in TESTS and (description := " ".join(node.get("description", "").split())):
        lines.append(f"  {description}")
    if kind == "test" and has_failed and result.get("compiled_code"):
        parents = [nodes[parent]["name"] for parent in parents_of(node) if parent in nodes]
        lines.append(f"  It tests {', '.join(parents)}.")
        try:
            with database.open() as source:
                columns, rows = source.query(result["compiled_code"], SAMPLE_ROWS)
        except LabmartError as error:
            problem = f"  The offending rows cannot be shown: {error}"
            return FailedNode(name, [*lines, f"  {result['message']}", problem])
        shown = f", the first {len(rows)} of them" if result["failures"] != len(rows) else ""
        details = [f"{result['failures']} offending rows{shown}:"]
        details += layout(columns, rows, None if width is None else width - 2).lines
    else:
        # "Database Error in model users (models/…)" repeats our own headline.
        headline = rf"^\s*\w+ Error in .*{re.escape(name)} \({re.escape(path)}\)\s*$"
        details = [line for line in clean(result["message"] or "") if not re.match(headline, line)]
    return FailedNode(name, lines + [f"  {line}".rstrip() for line in details])


def read_build(profile: Profile, plan: Plan, run: DbtRun, by: str = "") -> GreenBuild:
    """A green build, as dbt describes it in its artifacts; `by` is who publishes it.

    Without a place, dbt has built where it always does. Raises ConfigError if it was to build in
    the place and has not.
    """
    place = plan.place or profile.schema
    manifest = artifact(run.artifacts, "manifest")
    results = artifact(run.artifacts, "run_results")["results"]
    nodes, sources = manifest["nodes"], manifest["sources"].values()
    built = {
        unique_id: node
        for unique_id, node in nodes.items()
        if node["resource_type"] in ("model", "seed")
        and node["config"]["materialized"] != "ephemeral"
    }
    for model in built.values():
        if model["schema"] != place and not model["schema"].startswith(f"{place}_"):
            raise ConfigError(
                profile.path,
                f"dbt has built {model['schema']}.{model['alias']}, and not in {place}: the "
                "project's macro generate_schema_name has to heed LABMART_BUILD_SCHEMA, as that of "
                "labmart does (macros/overrides/generate_schema_name.sql).",
            )
    statuses = {node["unique_id"]: node["status"] for node in results}
    passed = [unique_id for unique_id, status in statuses.items() if status == "pass"]
    tests = Counter(
        parent for test in passed if test in nodes for parent in parents_of(nodes[test])
    )
    # What neither the code's digest nor the ledger's covers: Python, and other sources.
    has_python = any(node.get("language") == "python" for node in nodes.values())
    databases = {node["database"] for node in built.values()}
    reads_others = any(
        source["database"] not in databases
        or source["schema"] not in (profile.raw_schema, f"{place}_raw")
        or not (source["config"]["meta"].get("input") or source["identifier"] in OWN_TABLES)
        for source in sources
    )
    return GreenBuild(
        place=place,
        relations=tuple(
            Relation(
                suffix := node["schema"].removeprefix(place),
                node["alias"],
                node["config"]["materialized"] == "view",
                replaced_rows(suffix, node["config"]["meta"].get("increment")),
                str(node["config"]["meta"].get("rows", "")),
            )
            for node in built.values()
        ),
        marts=tuple(
            Mart(node["alias"], tests[unique_id])
            for unique_id, node in built.items()
            if node["schema"] == place
        ),
        models_built=len(statuses.keys() & built.keys()),
        tests_passed=len(passed),
        tests_warned=sum(status == "warn" for status in statuses.values()),
        seconds=run.seconds,
        invocation_id=run.invocation_id,
        code=None if has_python or reads_others else plan.code,
        can_grow=_knows_increments(nodes),
        is_increment=plan.is_increment,
        by=by,
    )


def _knows_increments(nodes: Mapping[str, Any]) -> bool:
    """Whether everything that reads a model with only the changed rows supports increments.

    The key `increment` of a model's meta says what the model holds: those rows (a list, or `part`),
    or all (`whole`). Generic tests check one row at a time, or a key.
    """
    kinds = {
        unique_id: node["config"].get("meta", {}).get("increment")
        for unique_id, node in nodes.items()
    }
    return all(
        node["config"].get("materialized", "") in _CAN_GROW
        and (
            kinds[unique_id]
            or "test_metadata" in node
            or all(kinds.get(parent) in (None, "whole") for parent in parents_of(node))
        )
        for unique_id, node in nodes.items()
    )


@dataclass(frozen=True)
class BuildOptions:
    """The options of a build; `vars` and `extra` are passed to dbt (`Plan`).

    `full` builds even if nothing has changed since the last green build. `keep` is how many earlier
    builds stay; None leaves it to LABMART_KEEP. `by` is who publishes it, as in GreenBuild.
    `standby` is where dbt may be ready for the build.
    """

    vars: str | None = None
    extra: tuple[str, ...] = ()
    full: bool = False
    keep: int | None = None
    by: str = ""
    standby: Standby | None = None


@dataclass(frozen=True)
class BuildOutcome:
    """A build, its failures, the number under which it was published, and the publication.

    `built` is where its marts can be read, even failed ones.
    """

    run: DbtRun
    built: Database
    failures: list[FailedNode] = field(default_factory=list)
    published: int | None = None
    is_increment: bool = False


def build_and_publish(
    database: Database,
    options: BuildOptions,
    report: Report | None = None,
    *,
    width: int | None = None,
) -> BuildOutcome | None:
    """Build and test beside what readers see, and publish it if all is well.

    Returns None if that would repeat the last build and `full` is not set. `extra` of the options
    tells dbt what to do, straight where readers look; nothing is published then. Raises what
    `check_seeds` does, UsageError if dbt refuses `extra` or finds nothing to do for it, and
    DatabaseFault if the build cannot be put in place.
    """
    project, profile = database.project, database.profile
    check_seeds(project.seeds)
    keep = kept_builds() if options.keep is None else options.keep
    database.ready()
    # Before dbt reads the files, which may be edited meanwhile.
    code = None if options.extra else code_of(project, profile, options.vars)
    with one_build_at_a_time(project), open_publications(profile) as publications:
        due = publications.next_build(code) if code and not options.full else WHOLE
        if due == NOTHING:
            return None
        place = "" if options.extra else publications.begin()
        plan = Plan(place, due == INCREMENT, code, options.vars, options.extra)
        with dbt_session(profile):
            run = build(project, profile, plan, report or Report(), options.standby)
        refused = [line for line in run.noise if line.startswith("Error: ")]
        if run.exit_code and refused and not run.nodes:
            raise UsageError(f"dbt refuses what it was given: {refused[0].removeprefix('Error: ')}")
        if options.extra and not run.exit_code and not run.nodes:
            raise UsageError(
                f"Nothing was built: dbt finds nothing for `{shlex.join(options.extra)}`. "
                "`dbt ls` lists what can be selected."
            )
        if run.exit_code == 0 and not options.extra:
            number = publications.publish(read_build(profile, plan, run, options.by), keep)
            # What dbt reads there describes whole builds.
            if place and not plan.is_increment:
                _tell_dbt(run.artifacts, project.target, place, profile.schema)
            return BuildOutcome(run, database, [], number, plan.is_increment)
    failed = failures(run, database, width) if run.exit_code else []
    beside = replace(database, profile=profile.with_schema(place)) if place else database
    return BuildOutcome(run, beside, failed)


def stand_by(database: Database, options: BuildOptions) -> None:
    """Have `options.standby` ready for an increment, on PostgreSQL, if one is expected.

    Errors are not reported here: the build reports them.
    """
    project, profile = database.project, database.profile
    code = code_of(project, profile, options.vars)
    if code is None or options.standby is None:
        return
    with (
        suppress(LabmartError),
        open_publications(profile, write=False) as publications,
        publications.opened(),
    ):
        seen = publications.made_by(code)
        if seen and seen.can_grow:
            plan = Plan(next_place(profile.schema), True, code, options.vars)
            options.standby.prepare(project, profile, plan)


def _tell_dbt(artifacts: Path, target: Path, place: str, schema: str) -> None:
    """Leave the artifacts where dbt leaves its own, with the schemas that readers see."""
    for name in ("manifest.json", "run_results.json", "semantic_manifest.json"):
        text = (artifacts / name).read_text(encoding="utf-8")
        (target / name).write_text(text.replace(place, schema), encoding="utf-8")


def run_and_report(database: Database, options: BuildOptions) -> tuple[bool, Database]:
    """Build, publish and report on stderr; returns whether all is well, and where its marts are.

    A build that would repeat the last one is skipped. See `build_and_publish`.
    """
    width = shutil.get_terminal_size().columns if sys.stderr.isatty() else None
    outcome = build_and_publish(database, options, width=width)
    if outcome is None:
        print(UNCHANGED, file=sys.stderr)
        return True, database
    run = outcome.run
    for message in dict.fromkeys(run.warnings):
        print("dbt warns:", *clean(message), sep="\n  ", file=sys.stderr)
    for failure in outcome.failures:
        print("", *failure.lines, sep="\n", file=sys.stderr)
    if outcome.failures:
        print(file=sys.stderr)
    if run.exit_code and not options.extra:
        print(NOT_PUBLISHED, file=sys.stderr)
    if outcome.published is not None:
        how = ", an increment: only what has changed" if outcome.is_increment else ""
        print(f"published as build {outcome.published}{how}", file=sys.stderr)
    print(summary(run), file=sys.stderr)
    return run.exit_code == 0, outcome.built


# Seeds: dbt silently accepts what it cannot parse. An open quotation mark swallows the rest of a
# file into one cell, a line with too few cells is filled up, a wrong encoding is a traceback.


def check_seeds(seeds: Path) -> None:
    """Read every declared seed in the directory strictly.

    Raises FilesRefused with the first problems of every file, and ConfigError if _seeds.yml cannot
    be read.
    """
    declaration = seeds / "_seeds.yml"
    # A project may have no seeds.
    declared = declared_tables(declaration, "seeds") if declaration.exists() else []
    problems = [
        f"{seeds.name}/{seed.name}.csv{problem}"
        for seed in declared
        for problem in islice(
            _seed_problems(seeds / f"{seed.name}.csv", [column.name for column in seed.columns]),
            _PROBLEMS_SHOWN,
        )
    ]
    if problems:
        raise FilesRefused(problems)


def _seed_problems(path: Path, columns: list[str]) -> Iterator[str]:
    """The problems of one file, each beginning with `:` or `, line N:`."""
    line = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = next(rows, [])
            needed = f"it must name {', '.join(columns)}, separated by commas"
            if not set(columns) <= set(header):
                yield f", line 1: it reads {', '.join(header)!r}, and {needed}."
                return
            if any(header.count(column) > 1 for column in columns):
                yield f", line 1: a column stands there twice: {', '.join(header)}."
                return
            if odd := [name for name in header if "%" in name or '"' in name]:
                yield f", line 1: a name must not hold % or a quotation mark: {', '.join(odd)}."
                return
            line = rows.line_num
            for row in rows:
                # A quoted cell may span lines; the row begins after the end of the last one.
                begins, line = line + 1, rows.line_num
                if row and len(row) != len(header):
                    yield f", line {begins}: {len(row)} cells instead of {len(header)}."
                elif any("\0" in cell for cell in row):
                    yield f", line {begins}: a NUL byte, which no text may hold."
    except csv.Error as error:
        yield f", line {line + 1}: a quotation mark is not closed, or not at the end: {error}."
    except UnicodeDecodeError as error:
        yield f": it is not UTF-8 (byte {error.object[error.start]:#04x}). Export it as UTF-8."
    except OSError as error:
        yield f": it cannot be read: {error.strerror}. Without rows it has its first line only."
