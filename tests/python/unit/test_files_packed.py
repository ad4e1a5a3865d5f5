"""Compressed files and archives: what comes out of them, damaged, nested, and without bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from unittest.mock import patch

import openpyxl
import pytest
from backports import zstd
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support.files import USERS, archive_of, collected, content_at, problem_of

from loader.errors import FileRefused
from loader.files import content
from loader.files.content import DecompressedStream, sha256_of

TEXT = b"user_id,name,email,signup_date\n" + b"".join(
    b"%d,User %d,%d@lab.example,2023-01-01\n" % (n, n, n) for n in range(8_000)
)
CHECKSUM: Mapping[int, int] = {zstd.CompressionParameter.checksum_flag: 1}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": partial(zstd.compress, options=CHECKSUM),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
TABLE = b"PK\x01\x02"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab.zip"


def refusal(path: Path, data: bytes | bytearray) -> str:
    path.write_bytes(data)
    with pytest.raises(FileRefused) as refused:
        content_at(path)
    return str(refused.value)


def unpacked(path: Path, data: bytes | bytearray) -> tuple[dict[str, bytes], str]:
    """The contents of an archive by the names of its members, and what is wrong with the others."""
    path.write_bytes(data)
    found, contents = collected(path)
    return {name.removeprefix(f"{path}/"): c for name, c in contents.items()}, "\n".join(
        found.problems
    )


@pytest.mark.parametrize("kind", ["", *PACK])
def test_a_compressed_file_reads_as_what_was_compressed(kind: str, path: Path) -> None:
    path.write_bytes(PACK[kind](TEXT) if kind else TEXT)
    with DecompressedStream(path) as stream:
        assert stream.compression == kind
        assert stream.read(10) == TEXT[:10]
        assert 0 < stream.position <= path.stat().st_size
        assert stream.readline() == TEXT[10:31]
        assert stream.read() == TEXT[31:]
        assert stream.position == path.stat().st_size
    path.write_bytes(b"")
    assert content_at(path) == b""


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    kind=st.sampled_from(sorted(PACK)),
    padding=st.sampled_from([0, 4, 1000]),
    piece=st.integers(1, 40) | st.just(content._PIECE),
    step=st.integers(1, 5000),
)
@example([b"a\n", b"", TEXT], "gzip", 200_000, content._PIECE, 1 << 20)
def test_members_with_zero_bytes_after_them_are_one_text(
    path: Path, members: list[bytes], kind: str, padding: int, piece: int, step: int
) -> None:
    # What begins a member is one, too, where it straddles two of the pieces that are read.
    path.write_bytes(b"".join(PACK[kind](member) + bytes(padding) for member in members))
    found = bytearray()
    with patch.object(content, "_PIECE", piece), DecompressedStream(path) as stream:
        while part := stream.read(step):
            found += part
    assert found == b"".join(members)


def test_skippable_frames_of_zstd_are_no_text(path: Path) -> None:
    path.write_bytes(SKIPPABLE.join([b"", zstd.compress(b"a"), zstd.compress(b"b"), b""]))
    assert content_at(path) == b"ab"


@pytest.mark.parametrize("kind", PACK)
def test_damaged_data_is_refused_and_what_follows_it_not_dropped(kind: str, path: Path) -> None:
    packed = PACK[kind](TEXT)
    changed = bytearray(packed)
    changed[len(packed) // 2] ^= 0x55
    for data, problem in (
        (packed[:12], "is cut short"),
        (packed[: len(packed) // 2], "is cut short"),
        (packed[: int(len(packed) * 0.999)], "is cut short"),
        (changed, "cannot be decompressed ("),
        (packed + b"7,Ada,ada@lab.example,\n", "is followed by something else"),
    ):
        message = refusal(path, data)
        assert message.startswith(f"{path}: its {kind} data {problem}")
        assert "near byte" in message
        assert message.endswith("Copy or export it again.")


def test_data_that_asks_for_too_much_memory_is_refused(path: Path) -> None:
    # One frame that asks for 2 GiB: magic, descriptor without size, window 2^31 (RFC 8878, 3.1.1).
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x09\x00\x00a"
    assert "data cannot be decompressed (" in refusal(path, frame)
    # Making such an xz honestly takes gigabytes: the size of the dictionary is the byte after
    # the filter's number in the block header, which ends with its checksum (.xz 1.2.0, 3.1, 5.3.1).
    packed = bytearray(lzma.compress(b"a"))
    packed[packed.index(b"\x21\x01") + 2] = 32  # 256 MiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    assert "data cannot be decompressed (" in refusal(path, packed)


PEAK = """
import resource, sys
from pathlib import Path
from loader.files.content import DecompressedStream
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
before, total, buffer = peak(), 0, bytearray(1 << 20)
with DecompressedStream(Path(sys.argv[1])) as stream:
    while size := stream.readinto(buffer):
        total += size
print(total >> 20, peak() - before)
"""


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_streams_in_little_memory(kind: str, path: Path) -> None:
    # 64 MiB of zeros as members of 16 MiB; the peak is that of a process of its own.
    path.write_bytes(PACK[kind](bytes(16 << 20)) * 4)
    call = [sys.executable, "-c", PEAK, str(path)]
    measured = subprocess.run(call, capture_output=True, text=True, check=True)
    total, grown = map(int, measured.stdout.split())
    assert total == 64
    # MiB; xz has a dictionary of 8, bzip2 blocks of 0.9 times 4 to 8.
    assert grown < 24


def test_refusals_call_the_file_by_the_name_it_is_given(tmp_path: Path) -> None:
    for read in (DecompressedStream, sha256_of):
        with pytest.raises(FileRefused, match=r"^lab\.zip/a\.csv: it has gone since"):
            read(tmp_path / "gone", "lab.zip/a.csv")
    with pytest.raises(FileRefused, match=": it cannot be opened: Is a directory"):
        DecompressedStream(tmp_path)


def test_the_digest_is_of_the_bytes_on_disk(path: Path) -> None:
    path.write_bytes(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_of(path, "a") == digest


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_each_member_is_a_file_by_name_in_order(method: int, path: Path) -> None:
    members = [("plates/b.csv", b"b" * 200_000), ("a.csv", USERS), ("empty.csv", b"")]
    path.write_bytes(archive_of(members, method))
    found, contents = collected(path)
    assert list(contents.items()) == [(f"{path}/{name}", data) for name, data in sorted(members)]
    assert all(file.temporary for file in found.files)
    assert not {**found.problems, **found.skipped}


def test_what_systems_leave_in_archives_is_skipped_and_told(path: Path) -> None:
    names = ["__MACOSX/._a.csv", ".hidden", "x/.git/y", "x\\Thumbs.db", "~$a.xlsx", "old/a.csv"]
    path.write_bytes(archive_of([*((name, b"x") for name in names), ("a.csv", USERS)]))
    found, contents = collected(path, exclude=["old"])
    assert contents == {f"{path}/a.csv": USERS}
    assert set(found.skipped) == {f"{path}/{name}" for name in names}


def test_names_that_lead_out_of_the_archive_lead_nowhere(path: Path, tmp_path: Path) -> None:
    shown = {
        "../../evil.csv": "../../evil.csv",
        "/etc/evil.csv": "etc/evil.csv",
        "C:\\evil.csv": "C:\\evil.csv",
        "a\x1b[31m\n.csv": "a\\x1b[31m\\n.csv",
    }
    contents, _ = unpacked(path, archive_of([(name, USERS) for name in shown]))
    assert sorted(tmp_path.parent.rglob("*evil*")) == []
    assert set(contents) == set(shown.values())


def test_members_that_cannot_be_read_are_problems_one_by_one(path: Path) -> None:
    methods = (9, 12, 14, 93, 98)
    names = [*"abcd", "locked", *map(str, methods)]
    data = bytearray(archive_of([(f"{name}.csv", USERS * 50) for name in names]))
    places = {name: data.index(f"{name}.csv".encode()) for name in names}
    data[places["a"] + 20] ^= 0xFF  # Within the packed bytes.
    data[places["b"] - 30] = 0  # The mark of the local header.
    # From the name in the table of contents to fields in front of it.
    entry = {name: data.rindex(f"{name}.csv".encode()) - 46 for name in names}
    data[entry["c"] + 16] ^= 0xFF  # The checksum.
    data[entry["locked"] + 8] |= 1
    for method in methods:
        data[entry[str(method)] + 10] = method
    contents, problems = unpacked(path, data)
    damaged = "its archive is damaged or cut short here. Copy or download it again."
    unpack = "Unpack it yourself and load the files."
    assert list(contents) == ["d.csv"]
    told = {
        **{f"{method}": f"it is compressed by method number {method}, not by deflate. {unpack}"
           for method in methods},
        **dict.fromkeys("abc", damaged),
        "locked": f"it needs a password. {unpack}",
    }  # fmt: skip
    assert problems.splitlines() == [f"{path}/{name}.csv: {what}" for name, what in told.items()]


@pytest.mark.parametrize(
    ("names", "end", "says"),
    [
        (["a.csv"], -10, "table of contents at the end is missing"),
        ([], None, "a zip archive without any file in it"),
        (["folder/"], None, "a zip archive without any file in it"),
        (range(10_001), None, "it has 10,001 members"),
    ],
)
def test_an_archive_as_a_whole_may_be_a_problem(
    path: Path, names: Sequence[str | int], end: int | None, says: str
) -> None:
    data = archive_of(((str(name), b"") for name in names), zipfile.ZIP_STORED)
    assert says in unpacked(path, data[:end])[1]


def test_archives_nest_once(path: Path) -> None:
    inner = archive_of([("a.csv", USERS), ("b.csv.gz", gzip.compress(USERS))])
    contents, _ = unpacked(path, archive_of([("inner.zip", inner)]))
    assert contents == {"inner.zip/a.csv": USERS, "inner.zip/b.csv.gz": USERS}
    deepest = archive_of([("middle.zip", archive_of([("inner.zip", inner)]))])
    assert unpacked(path, deepest) == (
        {},
        f"{path}/middle.zip/inner.zip: it is an archive within an archive within an archive. "
        "Unpack it yourself and load the files.",
    )


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress])
def test_what_must_be_sought_in_is_unwrapped(pack: Callable[[bytes], bytes], path: Path) -> None:
    workbook = io.BytesIO()
    openpyxl.Workbook().save(workbook)
    path.write_bytes(pack(workbook.getvalue()))
    found, contents = collected(path)
    assert contents == {str(path): workbook.getvalue()}
    assert [(file.temporary, file.kind) for file in found.files] == [(True, "xlsx")]
    assert unpacked(path, pack(archive_of([("a.csv", USERS)])))[0] == {"a.csv": USERS}
    # Text is decompressed while it is read.
    path.write_bytes(pack(USERS))
    assert [(file.path, file.temporary) for file in collected(path)[0].files] == [(path, False)]


def test_an_archive_that_expands_beyond_belief_is_refused(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A table that shrinks a lot is believed.
    lines = USERS[:31] + b"7,Ada,ada@lab.example,2023-01-01\n" * 300_000
    assert unpacked(path, archive_of([("a.csv", lines)])) == ({"a.csv": lines}, "")
    monkeypatch.setattr(content, "HARMLESS", 8 << 20)
    monkeypatch.setattr(content, "PLAUSIBLE_RATIO", 100)
    zeros = bytes(10 << 20)
    _, problem = unpacked(path, archive_of([("a.csv", zeros)]))
    assert "unpack to more than" in problem
    assert "If it is real, unpack it yourself" in problem
    # Neither many members nor an archive around it are a way past the limit.
    parts = archive_of((f"{n}.csv", zeros[: 3 << 20]) for n in range(4))
    contents, problem = unpacked(path, parts)
    assert (list(contents), problem.count("\n")) == (["0.csv", "1.csv"], 1)
    _, problem = unpacked(path, archive_of([("a.zip", archive_of([("a.csv", zeros)]))]))
    assert "unpack to more than" in problem


def test_a_full_disk_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(path.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    path.write_bytes(archive_of([("a.csv", USERS)]))
    message = problem_of(path)
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
    path.write_bytes(archive_of([("a.csv", USERS * 10_000)]))
    assert "has too little space" in problem_of(path)
