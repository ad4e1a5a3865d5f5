"""PATHs of this machine: files, folders, patterns, pipes, and what each is called."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from loader.errors import NothingToLoad
from loader.files import Collected, collect
from loader.files.names import in_reading_order

FILES = ("a.csv", "b.tsv", "sub/a.csv", "sub/deep/x1.csv", "sub/deep/x22.csv")


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `lab` with FILES, in the working directory."""
    folder = tmp_path / "lab"
    for name in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
    monkeypatch.chdir(tmp_path)
    return folder


def found(*paths: str, exclude: Sequence[str] = ()) -> Collected:
    with collect(paths, exclude=exclude, progress=lambda _: None) as collected:
        return collected


def names(*paths: str, exclude: Sequence[str] = ()) -> list[str]:
    collected = found(*paths, exclude=exclude)
    assert not collected.problems
    return [file.name for file in collected.files]


@pytest.mark.usefixtures("lab")
def test_files_come_in_the_order_of_the_call_and_folders_by_name() -> None:
    assert names("lab/b.tsv", "lab/a.csv") == ["lab/b.tsv", "lab/a.csv"]
    assert names("lab") == [f"lab/{name}" for name in FILES]
    assert names("./lab/") == [f"./lab/{name}" for name in FILES]
    assert names(".") == [f"./lab/{name}" for name in FILES]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("lab/*.csv", ["lab/a.csv"]),
        ("lab/?.*", ["lab/a.csv", "lab/b.tsv"]),
        ("lab/*", [f"lab/{name}" for name in FILES]),
        ("lab/*/*/x?.csv", ["lab/sub/deep/x1.csv"]),
        ("./l*/a.csv", ["./lab/a.csv"]),
        ("lab/[ab].csv", ["lab/a.csv"]),
    ],
)
def test_a_pattern_that_the_shell_left_is_expanded(pattern: str, wanted: list[str]) -> None:
    assert names(pattern) == wanted


def test_a_name_that_exists_goes_before_the_pattern(lab: Path) -> None:
    (lab / "[ab].csv").write_text("x")
    (lab / "*.csv").write_text("x")
    assert names("lab/[ab].csv") == ["lab/[ab].csv"]
    assert names("lab/*.csv") == ["lab/*.csv"]


def test_a_tilde_within_quotation_marks_is_the_home(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(lab))
    assert names("~/*.csv") == [f"{lab}/a.csv"]


def test_the_same_file_comes_once(lab: Path) -> None:
    (lab / "link.csv").symlink_to("a.csv")
    (lab / "folder").symlink_to("sub")
    absolute = str(lab / "a.csv")
    assert names("lab/b.tsv", "lab", "lab/sub", absolute, "lab/*.csv") == [
        "lab/b.tsv",
        "lab/a.csv",
        "lab/folder/a.csv",
        "lab/folder/deep/x1.csv",
        "lab/folder/deep/x22.csv",
    ]


def test_links_in_a_circle_come_to_an_end(lab: Path) -> None:
    for number in range(8):
        (lab / "sub" / f"up{number}").symlink_to("..")
        (lab / f"self{number}").symlink_to(".")
    started = time.process_time()
    assert len(names("lab")) == 5
    assert time.process_time() - started < 2


def test_what_is_nobodys_data_is_skipped_in_folders_and_told(lab: Path) -> None:
    left = [".hidden.csv", ".git/x", "Thumbs.db", "sub/desktop.ini", "~$a.xlsx", "__MACOSX/x"]
    for name in left:
        path = lab / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    os.mkfifo(lab / "pipe")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("lab/socket")
    listening.close()
    collected = found("lab")
    assert [file.name for file in collected.files] == [f"lab/{name}" for name in FILES]
    assert set(collected.skipped) == {
        f"lab/{name}"
        for name in (".hidden.csv", ".git", "Thumbs.db", "sub/desktop.ini", "~$a.xlsx",
                     "__MACOSX", "pipe", "socket")
    }  # fmt: skip
    # A hidden file may be meant when it is named itself; a lock file never is.
    assert names("lab/.hidden.csv") == ["lab/.hidden.csv"]
    assert next(iter(found("lab/a.csv", "lab/*").skipped)) == "lab/~$a.xlsx"


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("pattern", "wanted"),
    [
        ("*.csv", ["lab/b.tsv"]),
        ("deep", ["lab/a.csv", "lab/b.tsv", "lab/sub/a.csv"]),
        ("deep/", ["lab/a.csv", "lab/b.tsv", "lab/sub/a.csv"]),
        ("sub/a.csv", ["lab/a.csv", "lab/b.tsv", "lab/sub/deep/x1.csv", "lab/sub/deep/x22.csv"]),
        ("sub/*", ["lab/a.csv", "lab/b.tsv"]),
    ],
)
def test_exclude_means_names_anywhere_or_ends_of_paths(pattern: str, wanted: list[str]) -> None:
    assert names("lab", exclude=[pattern]) == wanted


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("lab/a.cvs", "lab/a.cvs: there is no such file or folder. Did you mean 'a.csv'?"),
        ("no/such/file", "no/such/file: there is no such file or folder. Check the path."),
        ("lab/*.xlsx", "lab/*.xlsx: there is no file there"),
        ("lab/**/*.csv", "lab/**/*.csv: `**` is not read. Name the folder"),
        ("empty", "empty: there is no file there"),
        ("hidden", "hidden: everything here is left out: hidden/.a"),
        ("", "'': this is no PATH"),
        ("a\0b", r"a\x00b: this is no PATH"),
        ("ftp://user:secret@host/x", "ftp://host/x: labmart knows no addresses of this kind"),
    ],
)
def test_a_path_that_means_no_file_is_a_wrong_call(lab: Path, path: str, message: str) -> None:
    (lab.parent / "empty" / "sub").mkdir(parents=True)
    (lab.parent / "hidden").mkdir()
    (lab.parent / "hidden" / ".a").write_text("x")
    with pytest.raises(NothingToLoad) as refused:
        found("lab", path)
    assert message in str(refused.value)


def test_all_problems_are_collected(lab: Path) -> None:
    (lab / "broken").symlink_to("nowhere")
    (lab / "circle").symlink_to("circle")
    (lab / "bad.gz").write_bytes(b"\x1f\x8b\x08\0")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    listening.close()
    collected = found("lab", "socket", "/dev/null", "lab/broken")
    assert len(collected.files) == len(FILES)
    assert (*collected.problems,) == (
        "lab/bad.gz: its gzip data is cut short near byte 4. Copy or export it again.",
        "lab/broken: it has gone since it was listed, or is a link that leads nowhere.",
        "lab/circle: it cannot be opened: Too many levels of symbolic links.",
        "socket: it is no file and no folder. A pipe is read as `-`.",
        "/dev/null: it is no file and no folder. A pipe is read as `-`.",
    )


def test_names_can_be_printed_and_stored_whatever_they_are(lab: Path) -> None:
    strange = [b"caf\xe9.csv", b"red\x1b[31m.csv", b"two\nlines.csv", "bidi\u202e.csv".encode()]
    for name in strange:
        (lab / os.fsdecode(name)).write_text("x")
    shown = names("lab/*.csv")
    assert shown == [
        "lab/a.csv",
        "lab/bidi\\u202e.csv",
        "lab/caf\\xe9.csv",
        "lab/red\\x1b[31m.csv",
        "lab/two\\nlines.csv",
    ]
    assert all(name.encode() for name in shown)
    assert names("lab/" + os.fsdecode(strange[0])) == ["lab/caf\\xe9.csv"]


@pytest.mark.parametrize(
    "names",
    [
        ["users.csv", "users_9.csv", "users_10.csv", "users_100.csv.gz"],
        ["export.csv", "export (2).csv", "export (10).csv"],
        ["plate2.csv", "plate2a.csv", "plate12.csv"],
        ["v1.9.csv", "v1.10.csv", "v2.1.csv"],
        ["2026-9.csv", "2026-13.csv"],
        ["x 27.02..csv", "x_03.03.csv"],
        ["31.12.25.csv", "27.02.26.csv", "03.03.26.csv"],
        ["27.02.2026.csv", "1.3.2026.csv", "1.1.2027.csv"],
        ["3-Jan-2026.csv", "Feb 27 2026.csv", "Mar 3, 2026.csv", "2026-04-01.csv"],
        ["3. Oktober 2025", "28. Februar 2026", "1. März 2026", "2026_05_07", "8 Dez 2026"],
        ["20260227.csv", "28022026.csv", "20260303T09.csv", "20260303T101500.csv"],
        ["users27Feb2026.csv", "users3Mar2026.csv"],
        ["users_february.csv", "users_March.csv", "users_Apr.csv"],
        # Of 12-31 and 27-02 one number shows which is the month of all.
        ["12-31-2025.csv", "01-05-2026.csv", "02-03-2026.csv"],
        ["27-02-2026.csv", "02-03-2026.csv", "01-05-2026.csv"],
        # Folder by folder; a name that is no day is words and numbers.
        ["2/x.csv", "10/a.csv", "10/b/9.csv", "10/b/10.csv"],
        ["45.13.csv", "99.99.2026.csv"],
        ["plate_20260230.csv", "plate_20260225.csv", "plate_20260301.csv"],
        ["10.csv", "2026-9999999999-1.csv", "9" * 5000],
        ["\udcff", "²", "Ü"],
    ],
)
def test_names_are_ordered_as_people_read_them(names: list[str]) -> None:
    for seed in range(5):
        mixed = random.Random(seed).sample(names, len(names))
        assert in_reading_order(mixed) == names
