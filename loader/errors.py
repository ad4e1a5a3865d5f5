"""What can go wrong, and the exit codes.

    LabmartError
    ├── UsageError (2)               the call makes no sense as given
    │   ├── ConfigError              a YAML file, or the project itself, cannot be used
    │   ├── NothingToLoad            a PATH means no file
    │   ├── MissingExtra, MissingJava   something an address or engine needs is not installed
    │   ├── UnknownMart, UnknownColumn
    │   ├── NotBuilt, Outdated       a mart's relation is missing, or lacks a declared column
    │   ├── UnknownLoad, WrongStatus
    │   └── BadParameter             of a request to the service
    ├── FileRefused (3)              one input file cannot be read as it is
    │   └── NoTable                  a text that is not a table, such as a README
    ├── FilesRefused (3)             the same for all files of a call; nothing was written
    ├── BuildFailed (1)              dbt failed at a model, a test, or another command
    ├── QueryFailed (1)              the database refused a query
    ├── DatabaseFault (4)            the database failed in the middle of the work
    ├── DatabaseUnreachable (4)      no usable connection, or no embedded server
    └── QueryTooSlow, TooBusy (4)    a request to the service took, or would wait, too long

Each says what is wrong, where, and what to do next. A fault has its own class only if some code
catches it, or if the service answers it with its own kind and status; all others are messages of
the class above.
"""

# ruff: noqa: N818 -- the name states the fault; the base class says that it is an error

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from loader import __version__

EXIT_BUILD = 1
EXIT_USAGE = 2
EXIT_FILE = 3
EXIT_DATABASE = 4
# sysexits.h: an internal fault.
EXIT_FAULT = 70
# What a shell reports for a process that SIGINT ended.
EXIT_INTERRUPTED = 130


class LabmartError(Exception):
    """Any expected fault. `str()` gives a message for the user."""

    exit_code = EXIT_USAGE
    # HTTP status in the service.
    status = 422


class UsageError(LabmartError):
    """The call makes no sense as given."""


class ConfigError(UsageError):
    """A YAML file of the project is missing, unreadable, or has content labmart cannot use."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}")


class NothingToLoad(UsageError):
    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class MissingExtra(UsageError):
    """The packages of an extra are not installed."""

    def __init__(self, name: str, extra: str) -> None:
        is_clone = (Path(__file__).parents[1] / "pyproject.toml").exists()
        if is_clone:
            remedy = f"In the project call `.venv/bin/pip install --editable '.[{extra}]'`"
        else:
            wheel = f"./labmart-{__version__}-py3-none-any.whl[{extra}]"
            remedy = f"Install the wheel with it: `uv tool install '{wheel}'`, or by pip"
        super().__init__(f"{name} needs the extra {extra!r}. {remedy}.")


class MissingJava(UsageError):
    def __init__(self, problem: str, needed: int) -> None:
        super().__init__(
            f"Spark needs Java {needed} or later, and {problem}. Install one (a package such as "
            f"openjdk-{needed}-jre-headless), or name its folder with JAVA_HOME."
        )


class UnknownMart(UsageError):
    status = 404

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(no_such("mart", name, known))


class UnknownColumn(UsageError):
    def __init__(self, mart: str, column: str, known: Sequence[str]) -> None:
        super().__init__(
            f"The mart {mart} has no column {column!r}.{did_you_mean(column, known)} "
            f"Its columns are: {', '.join(known)}."
        )


class NotBuilt(UsageError):
    status = 404

    def __init__(self, relation: str, where: str) -> None:
        super().__init__(f"There is no table {relation} in {where} yet. Run `labmart build` first.")


class Outdated(UsageError):
    status = 409

    def __init__(self, relation: str, message: str) -> None:
        super().__init__(
            f"The table {relation} was built before its columns were declared as they are now "
            f"({message}) Run `labmart build`."
        )


class UnknownLoad(UsageError):
    status = 404

    def __init__(self, load_id: int) -> None:
        super().__init__(f"There is no load {load_id}. `labmart loads` lists them.")


class WrongStatus(UsageError):
    status = 409

    def __init__(self, load_id: int, problem: str) -> None:
        super().__init__(f"Load {load_id} {problem}")


class BadParameter(UsageError):
    def __init__(self, parameter: str, problem: str) -> None:
        self.parameter = parameter
        super().__init__(f"{parameter}: {problem}")


@dataclass(frozen=True)
class ProposedColumn:
    """A declared column and the header cell that may mean it; None if none is close."""

    column: str
    required: bool
    cell: str | None


@dataclass(frozen=True)
class Proposal:
    """What a header may mean if its file belongs to an input."""

    input: str
    columns: tuple[ProposedColumn, ...]


@dataclass(frozen=True)
class RefusedHeader:
    """The cells of a header that matches no input, and how `--map` could map them.

    `where` is `line 3`, `row 3` or "". There is one proposal per input, the likeliest first.
    """

    where: str
    cells: tuple[str, ...]
    proposals: tuple[Proposal, ...]


class FileRefused(LabmartError):
    """One input file cannot be read as it is. `problem` begins with `:` or `, line N:`.

    `header` is set if other names for columns could fix it.
    """

    exit_code = EXIT_FILE

    def __init__(self, name: str, problem: str, header: RefusedHeader | None = None) -> None:
        self.name = name
        self.problem = problem
        self.header = header
        super().__init__(f"{name}{problem}")


class NoTable(FileRefused):
    """A text that names no column of an input and has no rows; inside a folder it is skipped."""


class FilesRefused(LabmartError):
    """Input files cannot be read as they are; nothing was written. Lists every problem found.

    `headers` has, by file, those that other names for columns could fix.
    """

    exit_code = EXIT_FILE

    def __init__(
        self,
        problems: Sequence[str],
        *,
        undone: str = "built",
        headers: Mapping[str, RefusedHeader] | None = None,
    ) -> None:
        self.problems = tuple(problems)
        self.headers = headers or {}
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"Nothing was {undone}, because files cannot be read as they are:\n{listed}"
        )


class BuildFailed(LabmartError):
    """dbt failed. Failures of models and tests have already been reported on stderr."""

    exit_code = EXIT_BUILD


class QueryFailed(LabmartError):
    exit_code = EXIT_BUILD
    status = 500

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"The database {where} refused a query: {message}")


class QueryTooSlow(LabmartError):
    exit_code = EXIT_DATABASE
    status = 504

    def __init__(self, where: str) -> None:
        super().__init__(
            f"The database {where} ended a query that took, or waited, too long. Ask for fewer "
            "rows, or again when no build is at work."
        )


class TooBusy(LabmartError):
    exit_code = EXIT_DATABASE
    status = 503

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} queries are at work already. Call again in some seconds.")


class DatabaseFault(LabmartError):
    """The database failed in the middle of the work; its transaction left no trace.

    `outcome` says so; if the connection breaks during the commit itself, the outcome is unknown.
    """

    exit_code = EXIT_DATABASE
    status = 503

    def __init__(
        self, where: str, problem: str, next_step: str, *, outcome: str = "Nothing was written."
    ) -> None:
        super().__init__(f"The database {where}: {problem} {outcome} {next_step}")


class DatabaseUnreachable(LabmartError):
    exit_code = EXIT_DATABASE
    status = 503


def no_such(kind: str, name: str, known: Sequence[str]) -> str:
    """The message for an unknown name."""
    near = did_you_mean(name, known)
    return f"There is no {kind} {name!r}.{near} The {kind}s are: {', '.join(known)}."


def did_you_mean(word: str, known: Sequence[str]) -> str:
    """A suggestion with a leading space, or ''."""
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
