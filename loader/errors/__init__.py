"""What can go wrong, and the exit codes.

    LabmartError
    ├── UsageError (2)               a wrong call
    │   ├── UnknownMart, UnknownColumn, UnknownEnding, NotBuilt, Outdated, TooLargeForFormat
    │   ├── NoProject
    │   ├── ProfileError             profiles.yml cannot be used
    │   ├── SourcesError             _sources.yml cannot be used
    │   ├── NothingToLoad, MissingExtra, MissingJava
    │   ├── UnknownLoad, WrongStatus
    │   └── BadParameter, NotAcceptable   of a request to the service
    ├── FileRefused (3)              one input file cannot be read as it is
    ├── FilesRefused (3)             the same of all files of a call; nothing was written
    ├── BuildFailed (1)              dbt or one of its tests failed
    ├── DocsFailed (1)               dbt cannot write its documentation
    ├── QueryFailed (1)              the database refused a query
    ├── RolesRefused (4)             the user may not make database roles
    ├── QueryTooSlow, TooBusy (4)    a request to the service took too long
    ├── ReaderGone (0)               nobody reads our output any more
    ├── DatabaseFault (4)            the database failed in the middle of the work
    └── DatabaseUnreachable (4)
        ├── ServerDown, LoginRefused, UnknownDatabase, UnknownRole, WrongEncoding
        ├── SparkUnreachable, MetastoreInUse
        ├── FileTaken                the file of a DuckDB database is open elsewhere
        └── EmbeddedError            the embedded PostgreSQL
            ├── WrongVersion, PrivateDirectoryRefused, NotTraversable
            └── NotRunning, StartFailed, StopFailed

Each says what is wrong, where, and what to do next.
"""

from __future__ import annotations

from loader.errors.base import (
    EXIT_BUILD,
    EXIT_DATABASE,
    EXIT_DONE,
    EXIT_FAULT,
    EXIT_FILE,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    BuildFailed,
    DocsFailed,
    LabmartError,
    ReaderGone,
    UsageError,
)
from loader.errors.database import (
    DatabaseFault,
    DatabaseUnreachable,
    EmbeddedError,
    FileTaken,
    LoginRefused,
    NotRunning,
    NotTraversable,
    PrivateDirectoryRefused,
    QueryFailed,
    QueryTooSlow,
    RolesRefused,
    ServerDown,
    StartFailed,
    StopFailed,
    TooBusy,
    UnknownDatabase,
    UnknownRole,
    WrongEncoding,
    WrongVersion,
)
from loader.errors.files import (
    FileRefused,
    FilesRefused,
)
from loader.errors.spark import MetastoreInUse, MissingJava, SparkUnreachable
from loader.errors.usage import (
    BadParameter,
    MissingExtra,
    NoProject,
    NotAcceptable,
    NotBuilt,
    NothingToLoad,
    Outdated,
    ProfileError,
    SourcesError,
    TooLargeForFormat,
    UnknownColumn,
    UnknownEnding,
    UnknownLoad,
    UnknownMart,
    WrongStatus,
)

__all__ = [
    "EXIT_BUILD",
    "EXIT_DATABASE",
    "EXIT_DONE",
    "EXIT_FAULT",
    "EXIT_FILE",
    "EXIT_INTERRUPTED",
    "EXIT_USAGE",
    "BadParameter",
    "BuildFailed",
    "DatabaseFault",
    "DatabaseUnreachable",
    "DocsFailed",
    "EmbeddedError",
    "FileRefused",
    "FileTaken",
    "FilesRefused",
    "LabmartError",
    "LoginRefused",
    "MetastoreInUse",
    "MissingExtra",
    "MissingJava",
    "NoProject",
    "NotAcceptable",
    "NotBuilt",
    "NotRunning",
    "NotTraversable",
    "NothingToLoad",
    "Outdated",
    "PrivateDirectoryRefused",
    "ProfileError",
    "QueryFailed",
    "QueryTooSlow",
    "ReaderGone",
    "RolesRefused",
    "ServerDown",
    "SourcesError",
    "SparkUnreachable",
    "StartFailed",
    "StopFailed",
    "TooBusy",
    "TooLargeForFormat",
    "UnknownColumn",
    "UnknownDatabase",
    "UnknownEnding",
    "UnknownLoad",
    "UnknownMart",
    "UnknownRole",
    "UsageError",
    "WrongEncoding",
    "WrongStatus",
    "WrongVersion",
]
