"""PATHs of this machine, what each is called, standard input, and temporary files."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from support.files import archive_of, collected, problem_of

from loader.errors import NothingToLoad
from loader.files import collect
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


def names(*paths: str, exclude: Sequence[str] = ()) -> list[str]:
    found, contents = collected(*paths, exclude=exclude)
    assert not found.problems
    return [*contents]


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("paths", "wanted"),
    [
        ("lab/b.tsv lab/a.csv", ["lab/b.tsv", "lab/a.csv"]),
        ("lab", [f"lab/{name}" for name in FILES]),
        ("./lab/", [f"./lab/{name}" for name in FILES]),
        (".", [f"./lab/{name}" for name in FILES]),
        ("lab/*.csv", ["lab/a.csv"]),
        ("lab/?.*", ["lab/a.csv", "lab/b.tsv"]),
        ("lab/*", [f"lab/{name}" for name in FILES]),
        ("lab/*/*/x?.csv", ["lab/sub/deep/x1.csv"]),
        ("./l*/a.csv", ["./lab/a.csv"]),
        ("lab/[ab].csv", ["lab/a.csv"]),
        # A name that exists goes before the pattern.
        ("lab/sub/[ab].csv", ["lab/sub/[ab].csv"]),
        ("~/*.csv", ["{home}/a.csv"]),
    ],
)
def test_files_come_in_the_order_of_the_call_and_others_by_name(
    lab: Path, monkeypatch: pytest.MonkeyPatch, paths: str, wanted: list[str]
) -> None:
    if paths == "lab/sub/[ab].csv":
        (lab / "sub" / "[ab].csv").write_text("x")
    monkeypatch.setenv("HOME", str(lab))
    assert names(*paths.split(" ")) == [name.format(home=lab) for name in wanted]


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
    found, contents = collected("lab")
    assert [*contents] == [f"lab/{name}" for name in FILES]
    assert set(found.skipped) == {
        f"lab/{name}"
        for name in (".hidden.csv", ".git", "Thumbs.db", "sub/desktop.ini", "~$a.xlsx",
                     "__MACOSX", "pipe", "socket")
    }  # fmt: skip
    # A hidden file may be meant when it is named itself; a lock file never is.
    assert names("lab/.hidden.csv") == ["lab/.hidden.csv"]
    assert next(iter(collected("lab/a.csv", "lab/*")[0].skipped)) == "lab/~$a.xlsx"


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
        collected("lab", path)
    assert message in str(refused.value)


def test_all_problems_are_collected(lab: Path) -> None:
    (lab / "broken").symlink_to("nowhere")
    (lab / "circle").symlink_to("circle")
    (lab / "bad.gz").write_bytes(b"\x1f\x8b\x08\0")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind("socket")
    listening.close()
    found, contents = collected("lab", "socket", "/dev/null", "lab/broken")
    assert len(contents) == len(FILES)
    assert (*found.problems,) == (
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


def python(program: str, *arguments: str, given: str = "", shell: str = "") -> str:
    command = [sys.executable, "-c", program, *arguments]
    if shell:
        command = ["bash", "-c", shell, *command]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=True, timeout=60
    ).stdout


SHOW = """
import sys
from loader.files import collect
from loader.files.content import DecompressedStream
with collect(sys.argv[1:], progress=lambda _: None) as found:
    for file in found.files:
        with DecompressedStream(file.path) as stream:
            print(file.name, file.temporary, stream.read().decode())
    print((*found.problems,))
"""


@pytest.mark.slow
def test_standard_input_is_a_file(lab: Path) -> None:
    told = python(SHOW, "-", "-", f"{lab}/a.csv", given="user_id")
    assert told == f"- True user_id\n{lab}/a.csv False a.csv\n\n()\n"
    told = python(SHOW, "-", shell='"$0" "$@" <&-')
    assert told == "('-: there is no standard input.',)\n"
    (lab / "gz").write_bytes(b"\x1f\x8b\x08")
    told = python(SHOW, "-", shell=f'"$0" "$@" < {lab}/gz')
    assert told.startswith("('-: its gzip data is cut short")


def test_temporary_files_are_removed_after_an_exception(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(lab.parent))
    Path("lab.zip").write_bytes(archive_of([("a.csv", "x")]))
    with suppress(ZeroDivisionError), collect(["lab.zip"], progress=lambda _: None) as found:
        assert found.files[0].path.parent.parent == lab.parent
        raise ZeroDivisionError
    assert sorted(path.name for path in lab.parent.iterdir()) == ["lab", "lab.zip"]


@pytest.mark.slow
def test_temporary_files_are_removed_after_an_interrupt(lab: Path) -> None:
    folder = lab.parent / "tmp"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", SHOW, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(folder)},
    ) as process:
        assert process.stdin is not None
        process.stdin.write(b"user_id\n")
        process.stdin.flush()
        deadline = time.monotonic() + 60
        while not list(folder.rglob("0*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert list(folder.rglob("0*")) != []
        process.send_signal(signal.SIGINT)
        process.wait(60)
    assert list(folder.iterdir()) == []


def test_a_folder_for_temporary_files_that_cannot_be_had_is_a_sentence(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(lab.parent / "none"))
    Path("lab.zip").write_bytes(archive_of([("a.csv", "x")]))
    problem = problem_of("lab.zip")
    assert problem.startswith("lab.zip/a.csv: a temporary file of it cannot be written below ")
    assert "No such file or directory. Make room, or set TMPDIR to a folder" in problem


@pytest.mark.slow
def test_what_may_not_be_read_is_a_problem(open_folder: Path) -> None:
    for name in ("closed.csv", "open.csv"):
        (open_folder / name).write_text("x")
    (open_folder / "closed.csv").chmod(0)
    (open_folder / "folder").mkdir(mode=0)
    # Root may read everything.
    nobody = "import os\nos.geteuid() or os.setuid(65534)\nwith collect"
    program = SHOW.replace("with collect", nobody)
    told = python(program, str(open_folder))
    problems = tuple(
        f"{open_folder}/{name}: you are not allowed to read it. Ask its owner, or `chmod +rX` it."
        for name in ("closed.csv", "folder")
    )
    assert told == f"{open_folder}/open.csv False x\n{problems}\n"
