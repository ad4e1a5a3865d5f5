"""Wrong calls."""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from loader.errors.base import UsageError


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = get_close_matches(word, known, n=1)
    return f" Did you mean {near[0]!r}?" if near else ""


class NoProject(UsageError):
    """No dbt_project.yml where one was looked for."""

    def __init__(self, looked_in: Sequence[Path]) -> None:
        self.looked_in = tuple(looked_in)
        places = ", ".join(str(place) for place in self.looked_in)
        super().__init__(
            f"No dbt_project.yml found (looked in {places}). Go into the project, or name it "
            "with --project-dir or LABMART_PROJECT_DIR."
        )


class ProfileError(UsageError):
    """profiles.yml is missing, unreadable or says something labmart cannot use."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class SourcesError(UsageError):
    """The source YAML does not specify inputs that can be loaded."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class UnknownMart(UsageError):
    """No mart has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        self.name = name
        self.known = tuple(known)
        super().__init__(
            f"There is no mart {name!r}.{_did_you_mean(name, self.known)} "
            f"The marts are: {', '.join(self.known)}."
        )


class UnknownColumn(UsageError):
    """The mart has no such column."""

    def __init__(self, mart: str, column: str, known: Sequence[str]) -> None:
        self.mart = mart
        self.column = column
        self.known = tuple(known)
        super().__init__(
            f"The mart {mart} has no column {column!r}.{_did_you_mean(column, self.known)} "
            f"Its columns are: {', '.join(self.known)}."
        )


class UnknownEnding(UsageError):
    """The ending of the file names no format that labmart writes."""

    def __init__(self, path: Path, known: Sequence[str]) -> None:
        self.path = path
        self.known = tuple(known)
        super().__init__(
            f"{path}: the ending says what to write, and {path.suffix or 'no ending'!r} is none "
            f"of {', '.join(self.known)}."
        )


class NotBuilt(UsageError):
    """The mart's relation does not exist in the database."""

    def __init__(self, relation: str, where: str) -> None:
        self.relation = relation
        self.where = where
        super().__init__(f"There is no table {relation} in {where} yet. Run `labmart build` first.")


class Outdated(UsageError):
    """The mart's relation lacks a column that is declared by now."""

    def __init__(self, relation: str, said: str) -> None:
        self.relation = relation
        self.said = said
        super().__init__(
            f"The table {relation} was built before its columns were declared as they are now "
            f"({said}) Run `labmart build`."
        )


class TooLargeForFormat(UsageError):
    """The rows do not fit the format."""

    def __init__(self, path: Path, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem} Nothing was written. Use csv or parquet.")


class NothingToLoad(UsageError):
    """A PATH means no file."""

    def __init__(self, path: str, problem: str) -> None:
        self.path = path
        self.problem = problem
        super().__init__(f"{path}: {problem}")


class MissingExtra(UsageError):
    """A package for this kind of address is not installed."""

    def __init__(self, name: str, extra: str) -> None:
        self.name = name
        self.extra = extra
        super().__init__(
            f"{name}: this needs the extra {extra!r}. In the project call "
            f"`.venv/bin/pip install --editable '.[{extra}]'`."
        )


class UnknownLoad(UsageError):
    """The ledger has no such load."""

    def __init__(self, load_id: int) -> None:
        self.load_id = load_id
        super().__init__(f"There is no load {load_id}. `labmart loads` lists them.")


class WrongStatus(UsageError):
    """The load's status does not allow this."""

    def __init__(self, load_id: int, problem: str) -> None:
        self.load_id = load_id
        self.problem = problem
        super().__init__(f"Load {load_id} {problem}")


class BadParameter(UsageError):
    """A parameter of a request says something that cannot be meant."""

    def __init__(self, parameter: str, problem: str) -> None:
        self.parameter = parameter
        self.problem = problem
        super().__init__(f"{parameter}: {problem}")


class NotAcceptable(UsageError):
    """The header Accept of a request wants none of the formats that there are."""

    def __init__(self, known: Sequence[str]) -> None:
        self.known = tuple(known)
        super().__init__(f"The header Accept names none of {', '.join(self.known)}.")
