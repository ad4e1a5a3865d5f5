"""Runs dbt as a child process (loader/dbt_process.py) and reports its progress.

It writes dbt's events as JSON lines; one line per finished node goes to stderr while it runs. dbt
runs in its own process because importing it takes seconds and because it ends its threads best on
a signal. A process that builds repeatedly keeps a `Standby`, in which dbt is ready already.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

from loader import __version__
from loader.errors import BuildFailed, UsageError
from loader.locks import locked
from loader.progress import TESTS, NodeResult, Report
from loader.project import PROFILES_FILE, PROJECT_FILE, Profile, Project, read_yaml

_PROGRAM = str(Path(__file__).with_name("dbt_process.py"))
# Tests of the code, which say nothing about the data; docs.getdbt.com, "Unit tests".
_PRODUCTION = ("--exclude-resource-type", "unit_test", "--exclude", "tag:development")
# Tests that need all rows of a model that holds only the changed ones in an increment, and tests of
# what no increment changes.
_WHOLE = "tag:whole"
_STOP_SECONDS = 20.0
FAILED = ("error", "fail")
# dbt's words for how a node ended; any other, such as INSERT, is a success.
_STATUSES = {name: name for name in ("pass", "warn", "skipped", *FAILED)} | {"skip": "skipped"}
# What dbt reads unless dbt_project.yml names other folders; docs.getdbt.com, "dbt_project.yml".
# Not Python: a project with a Python model is built every time.
_FOLDERS = {
    *("analyses", "dbt_packages", "functions", "macros", "models", "seeds", "snapshots", "tests")
}
_SUFFIXES = (".csv", ".md", ".sql", ".yaml", ".yml")
# A call with a quoted name, which is the second group, or with anything else.
_ENV_VAR = re.compile(rb"\benv_var\s*\(\s*(?:(['\"])(\w+)\1|[^\s)])")
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)
# schemas.getdbt.com, "manifest".
Manifest = dict[str, Any]


class Plan(NamedTuple):
    """What a build makes: a `place`, or an increment of it, by the `code` (see `code_of`).

    The place is the schema that replaces the target's (macro generate_schema_name); '' means the
    target's own. dbt parses the project separately for it, since its cache contains the schemas'
    names; and again for increments, whose SQL it renders differently (macro is_increment). `vars`
    are passed unchanged; `extra` says what dbt is to do instead of all but the development tests.
    """

    place: str = ""
    is_increment: bool = False
    code: str | None = None
    vars: str | None = None
    extra: tuple[str, ...] = ()


@dataclass
class DbtRun:
    """The result of a run of dbt; `artifacts` is where it has left its JSON files."""

    artifacts: Path
    exit_code: int = 0
    invocation_id: str = ""
    seconds: float = 0.0
    nodes: list[NodeResult] = field(default_factory=list)
    # dbt's own error messages that belong to no node: it could not even begin.
    errors: list[str] = field(default_factory=list)
    # dbt's warnings that belong to no node, such as a configuration that matches nothing.
    warnings: list[str] = field(default_factory=list)
    # Lines that are not JSON: a traceback of dbt itself, or of Python.
    noise: list[str] = field(default_factory=list)

    def count(self, *statuses: str, tests: bool | None = None) -> int:
        """How many nodes ended in one of these ways; `tests` limits it to tests, or to others."""
        return sum(
            node.status in statuses and tests in (None, node.kind in TESTS) for node in self.nodes
        )


class _Silence(Report):
    def say(self, text: str) -> None: ...

    def working(self, text: str) -> None: ...


class Standby:
    """A process in which dbt is ready for an expected build, or none.

    It has imported dbt and parsed the project, otherwise more than half of a small build, and takes
    130 MB of memory meanwhile. It ends with us.
    """

    def __init__(self) -> None:
        self._expected: object = None
        self._process: subprocess.Popen[str] | None = None

    def prepare(self, project: Project, profile: Profile, plan: Plan) -> None:
        """Begin to prepare for `build` with these arguments."""
        self.take(None)
        command = _Command.of_build(project, profile, plan)
        # It parses in its own folder, since another build may be running by then.
        apart = project.target / f"{plan.place}.standby"
        self._process = command.start(project, _settings(project, profile, apart, plan.vars))
        self._expected = command, plan.code

    def take(self, expected: object) -> subprocess.Popen[str] | None:
        """The process, now at work; None, and it is ended, if it was prepared for another build."""
        process, is_fit = self._process, expected == self._expected
        self._process = self._expected = None
        if process is None:
            return None
        # A closed stream must not be flushed later.
        stdin, process.stdin = process.stdin, None
        assert stdin is not None
        with suppress(OSError), stdin:
            if is_fit:
                stdin.write("\n")
                stdin.flush()
                return process
        process.kill()
        process.communicate()
        return None


class _Command(NamedTuple):
    """A dbt command: its arguments and environment, and where it leaves its JSON files."""

    arguments: tuple[str, ...]
    environment: dict[str, str]
    artifacts: Path

    @staticmethod
    def of_build(project: Project, profile: Profile, plan: Plan) -> _Command:
        is_increment = plan.is_increment
        artifacts = project.target / f"{plan.place}{'.increment' if is_increment else ''}"
        arguments = ("build", *_settings(project, profile, artifacts, plan.vars))
        selection = (*(plan.extra or _PRODUCTION), *((_WHOLE,) if is_increment else ()))
        increment = "1" if is_increment else ""
        own = {"LABMART_BUILD_SCHEMA": plan.place, "LABMART_INCREMENT": increment}
        return _Command((*arguments, *selection), os.environ | own, artifacts)

    def start(self, project: Project, prepared: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start it; with `prepared` (arguments of `dbt parse`), it waits for a line on stdin."""
        return subprocess.Popen(
            # With -P no file of the project can shadow one of Python's modules.
            [sys.executable, "-P", _PROGRAM, *prepared, "--", *self.arguments],
            env=self.environment,
            cwd=project.root,
            stdin=subprocess.PIPE if prepared else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            # In its own session Ctrl-C reaches us alone, and dbt gets exactly one signal.
            start_new_session=True,
        )


def build(
    project: Project, profile: Profile, plan: Plan, report: Report, standby: Standby | None = None
) -> DbtRun:
    """Run `dbt build`, in a process that is ready for it if there is one; how its nodes ended.

    The caller holds `one_build_at_a_time`, since builds write into target/.
    """
    command = _Command.of_build(project, profile, plan)
    process = standby and standby.take((command, plan.code))
    return _follow(process or command.start(project), command.artifacts, report)


def _follow(process: subprocess.Popen[str], artifacts: Path, report: Report) -> DbtRun:
    """Read dbt's output until it ends; end it if we are interrupted."""
    assert process.stdout is not None
    begun, run = time.monotonic(), DbtRun(artifacts)
    report.working("dbt reads the project …")
    try:
        for line in process.stdout:
            _take(line, run, report)
        run.exit_code = process.wait()
    finally:
        report.working("")
        if process.poll() is None:
            # It cancels its queries on SIGINT.
            print("stopping dbt …", file=sys.stderr)
            process.send_signal(signal.SIGINT)
            try:
                process.communicate(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
    run.seconds = time.monotonic() - begun
    return run


def write_docs(project: Project, profile: Profile) -> None:
    """Write target/static_index.html, the documentation in one file. Raises BuildFailed.

    dbt's other files go elsewhere, so that a concurrent build does not take them for its own.
    """
    apart = project.target / "docs"
    _run_quietly(project, profile, apart, "docs", "generate", "--static")
    manifest = (apart / "manifest.json").read_text(encoding="utf-8")
    page = (apart / "static_index.html").read_text(encoding="utf-8")
    shown = page.replace(manifest, json.dumps(without_tests(json.loads(manifest))))
    (project.target / "static_index.html").write_text(shown, encoding="utf-8")


def without_tests(manifest: Manifest) -> Manifest:
    """The manifest without nodes that would triple the size of dbt's lineage graph.

    These are unit tests and singular SQL tests; `docs: {show: false}` hides neither there. Tests
    declared on a column stay.
    """
    nodes = {
        unique_id: node
        for unique_id, node in manifest["nodes"].items()
        if node["resource_type"] != "test" or "test_metadata" in node
    }
    return manifest | {"nodes": nodes, "unit_tests": {}}


def compile_models(project: Project, profile: Profile, names: Sequence[str]) -> Manifest:
    """dbt's manifest with the SQL of these models and everything they depend on.

    The database is not queried. The result is kept for the next call with the same code. Raises
    BuildFailed.
    """
    code = code_of(project, profile, None)
    apart = project.root / ".labmart" / "compiled"
    apart.mkdir(mode=0o700, parents=True, exist_ok=True)
    selection = [f"+{name},resource_type:model" for name in names]
    made_of = apart / "code"
    with locked(apart / "lock", mode=0o600):
        if code is None or not made_of.exists() or made_of.read_text() != code:
            made_of.unlink(missing_ok=True)
            _run_quietly(
                *(project, profile, apart, "compile", "--no-populate-cache"),
                *("--no-introspect", "--indirect-selection", "empty", "--select", *selection),
            )
            made_of.write_text(code or "")
        return artifact(apart, "manifest")


def artifact(folder: Path, name: str) -> dict[str, Any]:
    """A JSON file that dbt has left; schemas.getdbt.com. Raises OSError, or ValueError."""
    document: dict[str, Any] = json.loads((folder / f"{name}.json").read_bytes())
    return document


def parents_of(node: Mapping[str, Any]) -> list[str]:
    """What a node of the manifest reads; a seed has no such list."""
    parents: list[str] = node["depends_on"].get("nodes", [])
    return parents


def _run_quietly(project: Project, profile: Profile, apart: Path, *words: str) -> None:
    """Run dbt with its own output folder. Raises BuildFailed."""
    arguments = (*words, *_settings(project, profile, apart))
    command = _Command(arguments, dict(os.environ), apart)
    run = _follow(command.start(project), apart, _Silence())
    if run.exit_code:
        reason = " ".join(run.errors or run.noise[-3:])
        raise BuildFailed(f"`dbt {words[0]}` failed: {' '.join(reason.split())}")


def _settings(
    project: Project, profile: Profile, artifacts: Path, variables: str | None = None
) -> tuple[str, ...]:
    # dbt exits silently where it cannot write.
    for folder in (project.target, Path(os.environ.get("DBT_LOG_PATH") or project.root / "logs")):
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise UsageError(
                f"{folder} cannot be written to, as dbt does. Correct its permissions."
            )
    return (
        *("--no-use-colors", "--no-send-anonymous-usage-stats"),
        *("--project-dir", str(project.root), "--profiles-dir", str(project.profiles_dir)),
        *("--target", profile.target, "--target-path", str(artifacts)),
        *(("--vars", variables) if variables else ()),
    )


def _take(line: str, run: DbtRun, report: Report) -> None:
    """Handle one line of dbt's output; docs.getdbt.com, "Events and logs"."""
    try:
        event = json.loads(line)
        info, data = event["info"], event["data"]
        node = data.get("node_info") or {}
        kind, name = node.get("resource_type", ""), node.get("node_name", "")
        run.invocation_id = info["invocation_id"] or run.invocation_id
    except (ValueError, TypeError, KeyError, AttributeError):
        if line.strip():
            run.noise.append(line.rstrip())
        return
    # dbt's words vary: "SELECT 5", "CREATE VIEW", "INSERT 30", "PASS" for success.
    word = str(data.get("status") or node.get("node_status") or "").lower().partition(" ")[0]
    status = _STATUSES.get(word, "success")
    # An index is present when a node begins or ends.
    if "index" in data and info["name"] == "LogStartLine":
        report.working(f"{data['index']} of {data['total']}: {name} …")
    elif "index" in data and node.get("unique_id"):
        # Hooks and exposures are nodes to dbt; they are reported only if they fail.
        if kind not in ("operation", "exposure") or status in FAILED:
            finished = NodeResult(kind, name, status, data.get("execution_time", 0.0))
            run.nodes.append(finished)
            report.built(finished)
    elif info["level"] in ("error", "warn") and not node.get("unique_id"):
        (run.errors if info["level"] == "error" else run.warnings).append(info["msg"])


@contextmanager
def one_build_at_a_time(project: Project) -> Iterator[None]:
    """Wait until no build of this project runs, and keep others from starting."""
    folder = project.root / ".labmart"
    folder.mkdir(mode=0o700, exist_ok=True)
    waiting = "waiting for another build of this project to end …"
    with locked(folder / "build.lock", waiting=waiting, mode=0o600):
        yield


# What determines the marts.


def code_of(project: Project, profile: Profile, variables: str | None) -> str | None:
    """A digest of everything that determines the marts; None if what dbt reads cannot be known.

    It contains no password: every reader of the marts can see it.
    """
    folders = set(_FOLDERS)
    settings = read_yaml(project.root / PROJECT_FILE)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key.endswith("-paths") or key == "packages-install-path":
            folders.update(map(str, value if isinstance(value, list) else [value]))
    if any("{" in folder for folder in folders):
        return None
    digest = hashlib.sha256()
    names = {name for name in os.environ if name.startswith("DBT_") and not _SECRET.search(name)}
    for path in _code_files(project.root, folders):
        content = path.read_bytes()
        name = os.path.relpath(path, project.root)
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
        if path.suffix != ".csv":
            variables_read = {name.decode() for _, name in _ENV_VAR.findall(content)}
            if "" in variables_read:
                return None
            names |= variables_read
    values = {
        "variables": variables,
        "environment": {name: os.environ.get(name) for name in names},
        "target": profile.target,
        "profile": {
            key: str(profile.values[key]) for key in profile.values if not _SECRET.search(key)
        },
        "versions": [__version__, *map(_version, ("core", "common", "adapters", profile.engine))],
    }
    digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()


def _code_files(root: Path, folders: Iterable[str]) -> list[Path]:
    """The files in the folders that dbt may read, and the YAML beside dbt_project.yml."""
    paths = {path for path in root.iterdir() if path.suffix in (".yml", ".yaml")}
    for folder in folders:
        for parent, _, names in os.walk(root / folder, followlinks=True):
            paths |= {Path(parent, name) for name in names if name.endswith(_SUFFIXES)}
    # The profile's target is compared as rendered.
    return sorted(path for path in paths if path.name != PROFILES_FILE and path.is_file())


def _version(package: str) -> str:
    try:
        return version(f"dbt-{package}")
    except PackageNotFoundError:
        return ""
