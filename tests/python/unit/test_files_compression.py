"""Opening files decompressed: every kind, damaged, nested, and expanding without bound."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import textwrap
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loader.errors import FileRefused
from loader.files.content import DecompressedStream, sha256_of

TEXT = b"user_id,name,email,signup_date\n" + b"".join(
    b"%d,User %d,%d@lab.example,2023-01-01\n" % (n, n, n) for n in range(8_000)
)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstd.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"


def written(folder: Path, data: bytes, name: str = "data") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def content(path: Path) -> bytes:
    with DecompressedStream(path) as stream:
        return stream.read()


def refusal(path: Path) -> str:
    with pytest.raises(FileRefused) as refused:
        content(path)
    return str(refused.value)


@pytest.mark.parametrize("kind", PACK)
def test_a_compressed_file_reads_as_what_was_compressed(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path, PACK[kind](TEXT))
    with DecompressedStream(path) as stream:
        assert stream.compression == kind
        assert stream.read(10) == TEXT[:10]
        assert 0 < stream.position <= path.stat().st_size
        assert stream.readline() == TEXT[10:31]
        assert stream.read() == TEXT[31:]
        assert stream.position == path.stat().st_size


def test_a_plain_file_reads_as_it_is(tmp_path: Path) -> None:
    with DecompressedStream(written(tmp_path, TEXT)) as stream:
        assert stream.compression == ""
        assert (stream.read(), stream.position) == (TEXT, len(TEXT))
    assert content(written(tmp_path, b"")) == b""


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("padding", [b"", bytes(4), bytes(200_000)])
def test_several_members_with_zero_bytes_after_them_are_one_text(
    kind: str, padding: bytes, tmp_path: Path
) -> None:
    pack = PACK[kind]
    packed = pack(b"a\n") + padding + pack(b"") + pack(TEXT) + padding
    assert content(written(tmp_path, packed)) == b"a\n" + TEXT


def test_members_may_begin_on_any_byte_of_a_piece(tmp_path: Path) -> None:
    # The reader takes 64 KiB at a time; a header that straddles two pieces is one all the same.
    first = gzip.compress(os.urandom(70_000))
    second = gzip.compress(b"end")
    for before in range(65_530, 65_545):
        stored = gzip.compress(bytes(os.urandom(before - 200)), compresslevel=0)
        packed = stored + second + first + second
        assert content(written(tmp_path, packed)).endswith(b"end")


def test_skippable_frames_of_zstd_are_no_text(tmp_path: Path) -> None:
    packed = SKIPPABLE + zstd.compress(b"a") + SKIPPABLE + zstd.compress(b"b") + SKIPPABLE
    assert content(written(tmp_path, packed)) == b"ab"


@pytest.mark.parametrize("kind", PACK)
@pytest.mark.parametrize("left", [0.01, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_refused(kind: str, left: float, tmp_path: Path) -> None:
    packed = PACK[kind](TEXT)
    path = written(tmp_path, packed[: max(12, int(len(packed) * left))])
    message = refusal(path)
    assert message.startswith(f"{path}: its {kind} data is cut short near byte")
    assert message.endswith("Copy or export it again.")


@pytest.mark.parametrize("kind", PACK)
def test_a_changed_byte_is_refused(kind: str, tmp_path: Path) -> None:
    pack = PACK[kind] if kind != "zstd" else zstd_with_checksum
    packed = bytearray(pack(TEXT))
    packed[len(packed) // 2] ^= 0x55
    assert f": its {kind} data cannot be decompressed (" in refusal(
        written(tmp_path, bytes(packed))
    )


def zstd_with_checksum(data: bytes) -> bytes:
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


@pytest.mark.parametrize("kind", PACK)
def test_what_follows_the_compressed_data_is_not_dropped_in_silence(
    kind: str, tmp_path: Path
) -> None:
    message = refusal(written(tmp_path, PACK[kind](TEXT) + b"7,Ada,ada@lab.example,\n"))
    assert f"its {kind} data is followed by something else" in message


def test_a_zstd_window_beyond_what_zstd_takes_is_refused(tmp_path: Path) -> None:
    # One frame that asks for 2 GiB: magic, descriptor without size, window 2^31 (RFC 8878, 3.1.1).
    frame = b"\x28\xb5\x2f\xfd\x00\xa8" + b"\x09\x00\x00a"
    assert "data cannot be decompressed (" in refusal(written(tmp_path, frame))


def test_an_xz_dictionary_beyond_the_limit_is_refused(tmp_path: Path) -> None:
    # Making such a file honestly takes gigabytes: the size of the dictionary is the byte after
    # the filter's number in the block header, which ends with its checksum (.xz 1.2.0, 3.1, 5.3.1).
    packed = bytearray(lzma.compress(b"a"))
    place = packed.index(b"\x21\x01") + 2
    packed[place] = 32  # 256 MiB
    packed[20:24] = zlib.crc32(packed[12:20]).to_bytes(4, "little")
    assert "data cannot be decompressed (" in refusal(written(tmp_path, bytes(packed)))


@pytest.mark.parametrize("kind", PACK)
def test_a_bomb_streams_in_little_memory(kind: str, tmp_path: Path) -> None:
    # 128 MiB of zeros as members of 16 MiB; the peak is that of a process of its own.
    member = PACK[kind](bytes(16 << 20))
    path = written(tmp_path, member * 8)
    measured = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(
                """
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
            ),
            str(path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    total, grown = map(int, measured.stdout.split())
    assert total == 128
    # MiB; xz has a dictionary of 8, bzip2 blocks of 0.9 times 4 to 8.
    assert grown < 24


def test_refusals_call_the_file_by_the_name_it_is_given(tmp_path: Path) -> None:
    missing = tmp_path / "gone"
    with pytest.raises(FileRefused, match=r"^lab\.zip/a\.csv: it has gone since"):
        DecompressedStream(missing, "lab.zip/a.csv")
    with pytest.raises(FileRefused, match=r"^lab\.zip/a\.csv: it has gone since"):
        sha256_of(missing, "lab.zip/a.csv")
    with pytest.raises(FileRefused, match=": it cannot be opened: Is a directory"):
        DecompressedStream(tmp_path)


def test_the_digest_is_of_the_bytes_on_disk(tmp_path: Path) -> None:
    path = written(tmp_path, b"abc")
    assert (
        sha256_of(path, "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    members=st.lists(st.binary(max_size=3000), min_size=1, max_size=4),
    kind=st.sampled_from(sorted(PACK)),
    step=st.integers(1, 5000),
)
def test_random_members_read_alike(
    tmp_path: Path, members: list[bytes], kind: str, step: int
) -> None:
    packed = b"".join(map(PACK[kind], members))
    found = bytearray()
    with DecompressedStream(written(tmp_path, packed)) as stream:
        while piece := stream.read(step):
            found += piece
    assert found == b"".join(members)
