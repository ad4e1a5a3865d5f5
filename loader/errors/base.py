"""The base classes, the exit codes, and what has a class but no message of its own."""

# ruff: noqa: N818 -- a name says the fault; that it is an error, its base class says.

from __future__ import annotations

EXIT_DONE = 0
EXIT_BUILD = 1
EXIT_USAGE = 2
EXIT_FILE = 3
EXIT_DATABASE = 4
# sysexits.h: an internal fault.
EXIT_FAULT = 70
# What a shell reports for a process that SIGINT ended.
EXIT_INTERRUPTED = 130


class LabmartError(Exception):
    """Anything expected to go wrong. `str()` of it is a message for a person."""

    exit_code = EXIT_USAGE


class UsageError(LabmartError):
    """The call cannot be meant as it stands."""

    exit_code = EXIT_USAGE


class BuildFailed(LabmartError):
    """dbt, or one of its tests, failed. The report has been written to stderr by then."""

    exit_code = EXIT_BUILD


class DocsFailed(LabmartError):
    """dbt cannot write its documentation."""

    exit_code = EXIT_BUILD


class ReaderGone(LabmartError):
    """Whoever read our stdout has seen enough, as in `labmart show | head`."""

    exit_code = EXIT_DONE
