"""What comes of a PATH, and PATHs of this machine: files, folders, patterns.

Not by fsspec, which reads the others: it takes a link to a folder for a file, passes over folders
that may not be read without a word, and forgets how a PATH was written.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path

from loader.errors import FileRefused, NothingToLoad, did_you_mean
from loader.files.content import Content
from loader.files.names import (
    in_reading_order,
    is_excluded,
    is_left_over,
    is_passed_over,
    is_pattern,
)
from loader.printable import printable

# A terminal is a device, and fine where somebody types into it.
_TERMINALS = ("/dev/stdin", "/dev/fd/0", "/dev/tty")


@dataclass(frozen=True)
class LocalFile:
    """A file that can be opened and sought in.

    `name` is for people and the ledger: the PATH as it was written, `folder/file`, an address
    without its secrets, or `archive.zip/member`; always printable. `path` is where the bytes are,
    a temporary file for standard input, remote files and members of archives. `content` is what
    `collect` has seen in it. `changed_at` is when the bytes were last changed where they come from,
    in seconds since 1970; None where only the file at `path` tells it.
    """

    name: str
    path: Path
    temporary: bool = False
    content: Content | None = None
    changed_at: float | None = None


@dataclass(frozen=True)
class Skipped:
    """A file that was left out by rule."""

    name: str


# One that cannot be had is the error that would be raised if it were the only one.
Result = LocalFile | Skipped | FileRefused


def is_pipe(path: Path) -> bool:
    """Whether a file can be read only once, as a named pipe or `<(…)` of a shell."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and str(path) in _TERMINALS)


def find(argument: str, exclude: Sequence[str]) -> Iterator[Result]:
    """What a PATH means: the file, the folder's files, what matches the pattern.

    A name that exists goes before a pattern. Raises NothingToLoad.
    """
    if not argument:
        raise NothingToLoad("''", "this PATH is empty. Name a file or a folder.")
    if "\0" in argument:
        raise NothingToLoad(printable(argument), "a path cannot have a NUL character in it.")
    if argument.startswith("~") and not os.path.lexists(argument):
        # A shell leaves it as it is within quotation marks.
        argument = os.path.expanduser(argument)  # noqa: PTH111 -- Path raises for nobody's home
    shown = printable(argument)
    if os.path.lexists(argument):
        results = list(_from(argument, exclude, is_named=True))
        nothing = "there is no file in this folder."
    elif is_pattern(argument):
        results = list(_matches(argument, exclude))
        nothing = "no file matches this pattern. Check it with `ls`."
    else:
        raise NothingToLoad(shown, _missing(argument))
    if not any(isinstance(result, LocalFile | FileRefused) for result in results):
        raise NothingToLoad(shown, nothing_left(results) or nothing)
    yield from results


def nothing_left(results: Sequence[Result]) -> str:
    """What NothingToLoad says when rules left out all there was; '' when there was nothing."""
    skipped = [result.name for result in results if isinstance(result, Skipped)]
    if not skipped:
        return ""
    more = f" and {len(skipped) - 3} more" if len(skipped) > 3 else ""
    return (
        f"everything here is left out: {', '.join(skipped[:3])}{more}. Hidden files, lock files "
        "and what --exclude names are not loaded; a hidden file can be named itself."
    )


def _missing(argument: str) -> str:
    parent = Path(argument).parent
    try:
        names = sorted(entry.name for entry in parent.iterdir())
    except FileNotFoundError:
        return "there is no such file, and no such folder around it. Check the path."
    except OSError as error:
        return f"this cannot be looked up: {error.strerror}."
    hint = did_you_mean(Path(argument).name, list(map(printable, names))) or " Check the path."
    return f"there is no such file or folder.{hint}"


def _from(start: str, exclude: Sequence[str], *, is_named: bool) -> Iterator[Result]:
    """A PATH that exists. Here hidden names count: somebody has named them."""
    base = Path(start).name
    if is_left_over(base, hidden_too=False) or is_excluded(base, exclude):
        yield Skipped(printable(start))
        return
    yield from (result for _, result in _walk(start, exclude, is_named=is_named))


def _look(path: str, *, is_named: bool) -> Result | None:
    """What is there; None for a folder.

    Sockets and pipes lie about in folders, and count only for whoever names them.
    """
    shown = printable(path)
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        return FileRefused(shown, f": {_cannot_look(path, error)}")
    if stat.S_ISDIR(mode):
        return None
    if stat.S_ISREG(mode) or (is_named and is_pipe(Path(path))):
        return LocalFile(shown, Path(path))
    if not is_named:
        return Skipped(shown)
    kind = "a socket" if stat.S_ISSOCK(mode) else "a device"
    return FileRefused(shown, f": it is {kind}, and only files, folders and pipes can be loaded.")


def _cannot_look(path: str, error: OSError) -> str:
    if error.errno == errno.ELOOP:
        return "it is a symbolic link that leads in a circle. Remove or mend it."
    if isinstance(error, FileNotFoundError) and Path(path).is_symlink():
        target = printable(str(Path(path).readlink()))
        return f"it is a symbolic link to {target}, which does not exist. Remove or mend it."
    if isinstance(error, FileNotFoundError):
        return "it has gone since it was listed."
    return f"it cannot be looked at: {error.strerror}."


def _walk(
    top: str, exclude: Sequence[str], *, is_named: bool = False
) -> Iterator[tuple[str, Result]]:
    """A file, or what is below a folder in reading order, each with its path from there.

    No folder comes twice.
    """
    entered: set[tuple[int, int]] = set()
    # What is still to do, the next one last: where it is, and where below the top.
    remaining = [(top, "")]
    while remaining:
        path, relative = remaining.pop()
        if relative and is_passed_over(relative, exclude):
            yield relative, Skipped(printable(path))
            continue
        result = _look(path, is_named=is_named and not relative)
        if result is not None:
            yield relative, result
            continue
        try:
            status = Path(path).stat()
            names = in_reading_order(child.name for child in Path(path).iterdir())
        except OSError as error:
            problem = f": this folder cannot be listed: {error.strerror}."
            yield relative, FileRefused(printable(path), problem)
            continue
        if (status.st_dev, status.st_ino) in entered:
            continue  # A symbolic link led back here.
        entered.add((status.st_dev, status.st_ino))
        for name in reversed(names):
            # As text: a Path would drop the "./" that somebody wrote.
            joined = f"{path}/{name}" if path and not path.endswith("/") else path + name
            remaining.append((joined, f"{relative}/{name}" if relative else name))


def _matches(pattern: str, exclude: Sequence[str]) -> Iterator[Result]:
    """What a pattern means; `**` is any number of folders, and only files match it.

    `glob` follows symbolic links without end below `**`, so those are walked here.
    """
    parts = pattern.split("/")
    if "**" not in parts:
        for match in in_reading_order(glob.glob(pattern)):  # noqa: PTH207 -- as text, as above
            yield from _from(match, exclude, is_named=False)
        return
    fixed = next(index for index, part in enumerate(parts) if is_pattern(part))
    top = "/".join(parts[:fixed]) + "/" if fixed else ""
    below = [part for part, _ in groupby(parts[fixed:])]
    if below[-1] in ("**", ""):
        below[-1:] = ["**", "*"]
    if Path(top).is_dir():
        for relative, result in _walk(top, exclude):
            if isinstance(result, FileRefused) or _fits(relative.split("/"), below):
                yield result


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_fits(parts[start:], pattern[1:]) for start in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])
