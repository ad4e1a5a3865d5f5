"""Zip archives and other wrappings: what comes out of them, and what is a problem."""

from __future__ import annotations

import gzip
import io
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import openpyxl
import pytest
from backports import zstd

from loader.files import Collected, collect, content
from loader.files.content import DecompressedStream

USERS = b"user_id,name,email,signup_date\n7,Ada,ada@lab.example,2023-01-01\n"
Members = Sequence[tuple[str, bytes]]


def archive_of(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return packed.getvalue()


def collected(
    path: Path, data: bytes = b"", exclude: Sequence[str] = ()
) -> tuple[Collected, dict[str, bytes]]:
    """What is collected of a file, and the bytes of each file while they are there."""
    if data:
        path.write_bytes(data)
    with collect([str(path)], exclude=exclude, progress=lambda _: None) as found:
        contents = {}
        for file in found.files:
            with DecompressedStream(file.path) as stream:
                contents[file.name.removeprefix(f"{path}/")] = stream.read()
    return found, contents


def problems(path: Path, data: bytes) -> str:
    found, _ = collected(path, data)
    return "\n".join(found.problems)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.zip"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_member_is_a_file_by_name_in_order(method: int, path: Path) -> None:
    members = [("plates/b.csv", b"b" * 200_000), ("a.csv", USERS), ("empty.csv", b"")]
    found, contents = collected(path, archive_of(members, method))
    assert list(contents.items()) == sorted(members)
    assert found.files[0].name == f"{path}/a.csv"
    assert all(file.temporary for file in found.files)
    assert not {**found.problems, **found.skipped}


def test_what_systems_leave_in_archives_is_skipped_and_told(path: Path) -> None:
    names = ["__MACOSX/._a.csv", ".hidden", "x/.git/y", "x\\Thumbs.db", "~$a.xlsx", "old/a.csv"]
    members = [(name, b"x") for name in names] + [("a.csv", USERS)]
    found, contents = collected(path, archive_of(members), exclude=["old"])
    assert contents == {"a.csv": USERS}
    assert set(found.skipped) == {f"{path}/{name}" for name in names}


def test_names_that_lead_out_of_the_archive_lead_nowhere(path: Path, tmp_path: Path) -> None:
    names = ["../../evil.csv", "/etc/evil.csv", "C:\\evil.csv", "a\x1b[31m\n.csv"]
    found, contents = collected(path, archive_of([(name, USERS) for name in names]))
    assert sorted(tmp_path.parent.rglob("*evil*")) == []
    assert set(contents) == {
        "../../evil.csv",
        "etc/evil.csv",
        "C:\\evil.csv",
        "a\\x1b[31m\\n.csv",
    }
    assert all(file.name.isprintable() for file in found.files)


def test_an_encrypted_member_is_a_problem_and_the_others_are_read(path: Path) -> None:
    data = bytearray(archive_of([("a.csv", USERS), ("b.csv", USERS)]))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    found, contents = collected(path, bytes(data))
    assert list(contents) == ["b.csv"]
    assert (*found.problems,) == (
        f"{path}/a.csv: it needs a password. Unpack it yourself and load the files.",
    )


@pytest.mark.parametrize("method", [9, 12, 14, 93, 98])
def test_members_by_other_methods_are_refused(method: int, path: Path) -> None:
    data = bytearray(archive_of([("a.csv", USERS)]))
    data[data.index(b"PK\x01\x02") + 10] = method
    message = f"{path}/a.csv: it is compressed by method number {method}, not"
    assert problems(path, bytes(data)).startswith(message)


def test_damaged_members_are_problems_one_by_one(path: Path) -> None:
    data = bytearray(archive_of([(f"{name}.csv", USERS * 50) for name in "abcd"]))
    places = [data.index(f"{name}.csv".encode()) for name in "abcd"]
    data[places[0] + 20] ^= 0xFF  # Within the packed bytes.
    data[places[1] - 30] = 0  # The mark of the local header.
    table = data.index(b"PK\x01\x02")
    second = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02", table + 4) + 4)
    data[second + 16] ^= 0xFF  # The checksum of c.csv.
    found, contents = collected(path, bytes(data))
    assert list(contents) == ["d.csv"]
    assert [problem.split(":")[0] for problem in found.problems] == [
        f"{path}/{name}.csv" for name in "abc"
    ]


def test_an_archive_that_is_cut_short_is_a_problem(path: Path) -> None:
    data = archive_of([("a.csv", USERS)])
    assert "table of contents at the end is missing" in problems(path, data[:-10])


@pytest.mark.parametrize("members", [[], [("folder/", b"")]])
def test_an_archive_without_files_is_a_problem(path: Path, members: Members) -> None:
    assert "a zip archive without any file in it" in problems(path, archive_of(members))


def test_archives_nest_once(path: Path) -> None:
    inner = archive_of([("a.csv", USERS), ("b.csv.gz", gzip.compress(USERS))])
    found, contents = collected(path, archive_of([("inner.zip", inner)]))
    assert contents == {"inner.zip/a.csv": USERS, "inner.zip/b.csv.gz": USERS}
    deepest = archive_of([("middle.zip", archive_of([("inner.zip", inner)]))])
    found, contents = collected(path, deepest)
    assert contents == {}
    assert (*found.problems,) == (
        f"{path}/middle.zip/inner.zip: it is an archive within an archive within an archive. "
        "Unpack it yourself and load the files.",
    )


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_what_must_be_sought_in_is_unwrapped(pack: Callable[[bytes], bytes], path: Path) -> None:
    workbook = io.BytesIO()
    openpyxl.Workbook().save(workbook)
    path.write_bytes(pack(workbook.getvalue()))
    with collect([str(path)], progress=lambda _: None) as found:
        assert not found.problems
        (file,) = found.files
        assert (file.name, file.temporary, file.kind) == (str(path), True, "xlsx")
        assert file.path.read_bytes() == workbook.getvalue()
    _, contents = collected(path, pack(archive_of([("a.csv", USERS)])))
    assert contents == {"a.csv": USERS}


def test_compressed_text_is_not_copied(path: Path) -> None:
    path.write_bytes(gzip.compress(USERS))
    with collect([str(path)], progress=lambda _: None) as found:
        assert [(file.path, file.temporary) for file in found.files] == [(path, False)]


def test_an_archive_that_expands_beyond_belief_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "HARMLESS", 8 << 20)
    monkeypatch.setattr(content, "PLAUSIBLE_RATIO", 100)
    zeros = bytes(10 << 20)
    message = problems(path, archive_of([("a.csv", zeros)]))
    assert "unpack to more than" in message
    assert "If it is real, unpack it yourself" in message
    # Neither many members nor an archive around it are a way past the limit.
    parts = [(f"{n}.csv", zeros[: 3 << 20]) for n in range(4)]
    found, contents = collected(path, archive_of(parts))
    assert (list(contents), len(found.problems)) == (["0.csv", "1.csv"], 2)
    nested = archive_of([("a.zip", archive_of([("a.csv", zeros)]))])
    assert "unpack to more than" in problems(path, nested)


def test_a_table_that_shrinks_a_lot_is_believed(path: Path) -> None:
    lines = USERS[:31] + b"7,Ada,ada@lab.example,2023-01-01\n" * 300_000
    _, contents = collected(path, archive_of([("a.csv", lines)]))
    assert contents == {"a.csv": lines}


def test_too_many_members_are_refused(path: Path) -> None:
    members = [(f"{n}.csv", b"") for n in range(10_001)]
    assert "it has 10,001 members" in problems(path, archive_of(members, zipfile.ZIP_STORED))


def test_a_full_disk_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    message = problems(path, archive_of([("a.csv", USERS)]))
    assert "has too little space" in message
    assert "set TMPDIR to a folder that you can write to, on a larger disk" in message


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_disk_that_becomes_full_while_writing_is_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = content.Spool.new

    def on_a_full_disk(spool: content.Spool, name: str) -> Path:
        link = make(spool, name)
        link.symlink_to("/dev/full")
        return link

    monkeypatch.setattr(content.Spool, "new", on_a_full_disk)
    assert "has too little space" in problems(path, archive_of([("a.csv", USERS * 10_000)]))
