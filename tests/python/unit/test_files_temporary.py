"""Standard input, another account's files, and temporary files, most in a real process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import zipfile
from pathlib import Path

import pytest

from loader.files import collect


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder `lab` with a file, in the working directory."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "a.csv").write_text("a.csv\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "lab"


def python(program: str, *arguments: str, given: str = "", shell: str = "") -> str:
    command = [sys.executable, "-c", program, *arguments]
    if shell:
        command = ["bash", "-c", shell, *command]
    return subprocess.run(
        command, input=given, capture_output=True, text=True, check=True, timeout=60
    ).stdout


SHOW = textwrap.dedent(
    """
    import sys
    from loader.files import collect
    from loader.files.content import DecompressedStream
    with collect(sys.argv[1:], progress=lambda _: None) as found:
        for file in found.files:
            with DecompressedStream(file.path) as stream:
                print(file.name, file.temporary, stream.read().decode())
        print((*found.problems,))
    """
)


@pytest.mark.slow
def test_standard_input_is_a_file(lab: Path) -> None:
    told = python(SHOW, "-", "-", f"{lab}/a.csv", given="user_id")
    assert told == f"- True user_id\n{lab}/a.csv False a.csv\n\n()\n"
    told = python(SHOW, "-", shell='"$0" "$@" <&-')
    assert told == "('-: there is no standard input.',)\n"
    (lab / "gz").write_bytes(b"\x1f\x8b\x08")
    told = python(SHOW, "-", shell=f'"$0" "$@" < {lab}/gz')
    assert told.startswith("('-: its gzip data is cut short")


def write_zip() -> None:
    """An archive, whose members become temporary files."""
    with zipfile.ZipFile("lab.zip", "w") as archive:
        archive.writestr("a.csv", "x")


def test_temporary_files_are_removed_after_an_exception(
    lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(lab.parent))
    write_zip()

    def fail() -> None:
        with collect(["lab.zip"], progress=lambda _: None) as collected:
            assert collected.files[0].path.parent.parent == lab.parent
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
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
    write_zip()
    with collect(["lab.zip"], progress=lambda _: None) as found:
        (problem,) = found.problems
    assert problem.startswith("lab.zip/a.csv: a temporary file of it cannot be written below ")
    assert "No such file or directory. Make room, or set TMPDIR to a folder" in problem


@pytest.mark.slow
def test_what_may_not_be_read_is_a_problem(open_folder: Path) -> None:
    for name in ("closed.csv", "open.csv"):
        (open_folder / name).write_text("x")
    (open_folder / "closed.csv").chmod(0)
    (open_folder / "folder").mkdir(mode=0)
    program = textwrap.dedent(
        """
        import os, sys
        from loader.files import collect
        # Root may read everything.
        os.geteuid() or os.setuid(65534)
        with collect([sys.argv[1]], progress=print) as found:
            print(*(file.name for file in found.files), *found.problems, sep="\\n")
        """
    )
    told = python(program, str(open_folder))
    assert told.splitlines() == [
        f"{open_folder}/open.csv",
        f"{open_folder}/closed.csv: you are not allowed to read it. Ask its owner, or `chmod +rX` "
        "it.",
        f"{open_folder}/folder: you are not allowed to read it. Ask its owner, or `chmod +rX` it.",
    ]
