"""What README.md and docs/ say can be typed can be typed, and gives what they show.

Commands are the lines after `$ ` in ```console blocks, where what follows is their output, and all
lines of ```bash blocks. In an output a line `...` stands for any lines; durations and times may
differ.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.in_process import Done, fault, program
from support.project import ROOT

from loader.cli import labmart

README = ROOT / "README.md"
FILES = ROOT / "docs" / "files.md"

BLOCK = re.compile(r"^```(console|bash)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DURATION = re.compile(r"\b\d+(\.\d+)? ?s\b|\b\d{4}-\d\d-\d\d \d\d:\d\d\b")
# What is run for real after `labmart run`, in the order of the README and of docs/files.md.
CHEAP = re.compile(
    r"^labmart (show|issues|why|export|db status|db url|db start)\b|^dbt (parse|ls|list)\b"
    r"|^LABMART_SCHEMA=messy LABMART_RAW_SCHEMA=messy_raw labmart "
)


@dataclass(frozen=True)
class Command:
    """One command and the lines that the README shows below it."""

    line: str
    output: tuple[str, ...] = ()


def commands(markdown: str) -> list[Command]:
    """The commands of all blocks, in order."""
    found: list[Command] = []
    for language, block in BLOCK.findall(markdown):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "bash":
            found += [Command(line) for line in lines if line.strip() and not line.startswith("#")]
            continue
        starts = [n for n, line in enumerate(lines) if line.startswith("$ ")]
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            output = "\n".join(lines[start + 1 : end]).strip("\n").splitlines()
            found.append(Command(lines[start].removeprefix("$ "), tuple(output)))
    return found


def words(line: str) -> list[str]:
    """The words of a command up to a comment, a pipe or a redirection; without NAME=value first."""
    found: list[str] = []
    for word in shlex.split(line, comments=True):
        if word in ("|", "||", "&&", ";") or re.match(r"\d?>", word):
            break
        if found or not re.match(r"\w+=", word):
            found.append(word)
    return found


def shows(output: tuple[str, ...], printed: str) -> bool:
    """Whether a shown output is the printed one, `...` standing for any lines."""
    parts = [
        "[^\0]*?" if line.strip() in ("...", "…") else re.escape(plain(line)) + "\n"
        for line in output
    ]
    text = "".join(plain(line) + "\n" for line in printed.strip("\n").splitlines())
    return re.fullmatch("".join(parts), text) is not None


def plain(line: str) -> str:
    return DURATION.sub("N s", line.rstrip())


def commands_of(*pages: Path) -> list[Command]:
    return [command for page in pages for command in commands(page.read_text(encoding="utf-8"))]


def calls(program: str) -> Iterator[list[str]]:
    """The calls of a program in the README and the pages of docs/."""
    for command in commands_of(README, *sorted((ROOT / "docs").glob("*.md"))):
        found = words(command.line)
        if found[:1] == [program]:
            yield found[1:]


def test_what_judges_the_pages_finds_faults() -> None:
    assert commands("```console\n$ make run\n...\n 1\n$ labmart show | head\n```\n") == [
        Command("make run", ("...", " 1")),
        Command("labmart show | head"),
    ]
    assert words("PGHOST=x labmart show 'my file' | head") == ["labmart", "show", "my file"]
    assert fault(labmart, ["--project-dir", ".", "build", "--", "--select", "a"]) is None
    for call in ("shwo", "show --fromat csv", "db urls", "show a b", "export users"):
        assert fault(labmart, call.split()), call
    printed = "built in 12.3 s\n a  b\n 1  2\n 3  4\n"
    assert shows(("built in 9 s", " a  b", "..."), printed)
    assert not shows(("...", " 1  2"), printed)


def test_the_first_screen_has_the_two_commands_and_their_output() -> None:
    first = commands_of(README)[:2]
    assert [command.line for command in first] == ["make run", "make test"]
    assert first[0].output
    # One screen: what the README says before and with them.
    text = README.read_text(encoding="utf-8")
    assert text[: text.index("make test")].count("\n") <= 60


def test_every_make_target_exists_and_make_help_tells_it() -> None:
    targets = set(re.findall(r"^make ([a-z]+) +\w", program("make", "help").out, re.MULTILINE))
    for call in calls("make"):
        assert {word for word in call if "=" not in word} <= targets, call


def test_every_labmart_call_parses() -> None:
    assert {
        shlex.join(call): why for call in calls("labmart") if (why := fault(labmart, call))
    } == {}


def test_every_dbt_call_parses(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from dbt.cli.main import cli

    # The folder must exist, and a fresh clone has no profiles.yml that would name one.
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path))
    assert {shlex.join(call): why for call in calls("dbt") if (why := fault(cli, call))} == {}


@pytest.mark.slow
def test_the_commands_give_what_is_shown(project_copy: Path, tmp_path: Path) -> None:
    """`labmart run`, as `make run` does, then each cheap command, in a copy of the project."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "labmart").write_text(f"#!/bin/sh\nexec '{sys.executable}' -m loader \"$@\"\n")
    (programs / "labmart").chmod(0o755)
    path = f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"

    # as in a terminal of that width
    own = {"PATH": path, "HOME": str(tmp_path), "COLUMNS": "100", "LOGNAME": "ana"}

    def run(line: str) -> Done:
        bash = ("bash", "-o", "pipefail", "-c", f"exec 2>&1 < /dev/null; {line}")
        return program(*bash, cwd=project_copy, env=os.environ | own)

    faults: list[str] = []
    try:
        for command in [
            c for c in commands_of(README, FILES) if c.line == "make run" or CHEAP.match(c.line)
        ]:
            done = run("labmart run" if command.line == "make run" else command.line)
            if done.code != 0 or (command.output and not shows(command.output, done.out)):
                faults.append(f"$ {command.line}\n{done.out}exit code {done.code}")
    finally:
        run("labmart db stop")
    assert faults == [], "\n\n".join(faults)
