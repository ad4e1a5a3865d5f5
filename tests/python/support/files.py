"""What the PATHs of a call mean, for tests: the files, and their bytes while they are there."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb

from loader.files import Collected, collect
from loader.files.content import DecompressedStream

USERS = b"user_id,name,email,signup_date\n7,Ada,ada@lab.example,2023-01-01\n"


def collected(
    *paths: str | Path, exclude: Sequence[str] = ()
) -> tuple[Collected, dict[str, bytes]]:
    """What is collected of PATHs, and the decompressed bytes of each file by its name."""
    with collect([*map(str, paths)], exclude=exclude, progress=lambda _: None) as found:
        contents = {file.name: content_at(file.path) for file in found.files}
    assert not any(file.path.exists() for file in found.files if file.temporary)
    return found, contents


def content_at(path: Path) -> bytes:
    with DecompressedStream(path) as stream:
        return stream.read()


def problem_of(*paths: str | Path) -> str:
    """Why nothing is had of the PATHs."""
    found, contents = collected(*paths)
    assert contents == {}
    (problem,) = found.problems
    return problem


def archive_of(
    members: Iterable[tuple[str, bytes | str]], method: int = zipfile.ZIP_DEFLATED
) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def parquet_of(
    header: Sequence[str],
    types: Sequence[str],
    records: Sequence[Sequence[str | None]],
    compression: str = "snappy",
) -> bytes:
    """A file whose columns have these types of DuckDB."""
    columns = ", ".join(f"c{at} {type_}" for at, type_ in enumerate(types))
    names = (name.replace('"', '""') for name in header)
    named = ", ".join(f'c{at} as "{name}"' for at, name in enumerate(names))
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        connection.execute(f"create table t ({columns})")
        if records:
            marks = ", ".join("?" * len(types))
            connection.executemany(f"insert into t values ({marks})", records)
        path = Path(folder, "t.parquet")
        options = f"(format parquet, compression '{compression}')"
        connection.execute(f"copy (select {named} from t) to '{path}' {options}")
        return path.read_bytes()
