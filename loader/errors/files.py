"""Input files that cannot be read."""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

from collections.abc import Sequence

from loader.errors.base import EXIT_FILE, LabmartError


class FileRefused(LabmartError):
    """One input file cannot be read as it is. `problem` begins with `:` or `, line N:`."""

    exit_code = EXIT_FILE

    def __init__(self, name: str, problem: str) -> None:
        self.name = name
        self.problem = problem
        super().__init__(f"{name}{problem}")


class FilesRefused(LabmartError):
    """Input files cannot be read as they are; nothing was written. Lists every problem found."""

    exit_code = EXIT_FILE

    def __init__(self, problems: Sequence[str], *, undone: str = "built") -> None:
        self.problems = tuple(problems)
        listed = "\n".join(f"  {problem}" for problem in self.problems)
        super().__init__(
            f"Nothing was {undone}, because files cannot be read as they are:\n{listed}"
        )
