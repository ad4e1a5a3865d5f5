"""What lies elsewhere: remote addresses and standard input, brought into temporary files.

fsspec and the libraries below it do the talking. Their settings are taken from where each of them
looks (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*, ssh-agent, FSSPEC_*).
"""

from __future__ import annotations

import io
import select
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol, cast
from urllib.parse import unquote, urlsplit

from loader.errors import FileRefused, MissingExtra, NothingToLoad
from loader.files.faults import remote_fault
from loader.files.names import is_excluded, is_left_over, scheme_of, shown_address
from loader.files.paths import is_pattern, nothing_left
from loader.files.results import LocalFile, Problem, Result, Skipped
from loader.files.temporary import Progress, Spool, no_space, teller
from loader.printable import printable

if TYPE_CHECKING:
    from fsspec.callbacks import Callback

# Scheme: the extra of labmart that reads it.
EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "abfs": "az",
    "abfss": "az",
    "https": "https",
    "http": "https",
    "sftp": "sftp",
}
# Seconds without any answer. A whole download may take as long as it takes.
CONNECT_TIMEOUT = 20
READ_TIMEOUT = 60
_LOOK_EVERY = 64 << 20

# Seconds that a read of a pipe may wait at a time.
_PATIENCE = 0.5


class _FileSystem(Protocol):
    """What is used of fsspec's file systems."""

    def exists(self, path: str) -> bool: ...
    def info(self, path: str) -> Mapping[str, object]: ...
    def find(self, path: str) -> list[str]: ...
    def glob(self, path: str) -> list[str]: ...
    def get_file(self, rpath: str, lpath: str, **options: object) -> None: ...


def check_scheme(address: str) -> None:
    """Raise NothingToLoad for an address of a kind that labmart does not know."""
    if scheme_of(address) not in EXTRAS:
        known = ", ".join(f"{scheme}://" for scheme in sorted(EXTRAS))
        raise NothingToLoad(
            shown_address(address), f"labmart knows no addresses of this kind, only {known}."
        )


def fetch(
    address: str, *, exclude: Sequence[str], spool: Spool, progress: Progress, seen: set[str]
) -> Iterator[Result]:
    """Download the file of an address, or the files of a prefix or pattern, sorted by name.

    What is `seen` is not fetched again, and what is fetched is added to it. What cannot be had is
    a Problem. Raises MissingExtra, and NothingToLoad for a pattern that
    matches nothing.
    """
    shown = shown_address(address)
    progress(f"{shown}: connecting")
    try:
        system, root = open_system(address)
        found = _files(system, address, root)
    except (MissingExtra, NothingToLoad):
        raise
    except Exception as error:  # Each library has its own; they have no base in common.
        yield Problem(f"{shown}: {remote_fault(error, scheme_of(address))}")
        return
    skipped: list[Result] = []
    for path, relative in found:
        name = shown if path == root else _shown(address, shown, root, path)
        if (path != root and is_left_over(relative)) or is_excluded(relative, exclude):
            skipped.append(Skipped(name))
            yield skipped[-1]
            continue
        # Of two addresses of the web that differ in their query, each is a file of its own.
        key = path if EXTRAS[scheme_of(address)] == "https" else name
        if key not in seen:
            seen.add(key)
            yield _download(system, path, name, address, spool, progress)
    if len(skipped) == len(found):
        nothing = "no file there matches." if is_pattern(address) else "there is no file there."
        raise NothingToLoad(shown, nothing_left(skipped) or nothing)


def open_system(address: str) -> tuple[_FileSystem, str]:
    """The file system of an address, and what it calls the address. Raises MissingExtra."""
    scheme = scheme_of(address)
    try:
        import fsspec

        # fsspec's list of known schemes lacks one that adlfs reads.
        kind = fsspec.get_filesystem_class("abfs" if scheme == "abfss" else scheme)
    except ImportError:
        raise MissingExtra(shown_address(address), EXTRAS[scheme]) from None
    options: dict[str, object] = {"skip_instance_cache": True}
    if EXTRAS[scheme] == "https":
        options |= _http_options(address)
        root = address
    elif scheme == "sftp":
        from loader.files.sftp import KnownHosts

        kind = KnownHosts
        # The rest of the address is a path, with `?` and `#` in it as they may be.
        place = urlsplit("sftp://" + address.split("://", 1)[1].partition("/")[0])
        options |= {"host": place.hostname or "", "port": place.port or 22}
        options |= {"username": _decoded(place.username), "password": _decoded(place.password)}
        options |= dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), CONNECT_TIMEOUT)
        root = "/" + address.split("://", 1)[1].partition("/")[2]
    else:
        options |= kind._get_kwargs_from_urls(address)
        root = str(kind._strip_protocol(address))
    return cast("_FileSystem", kind(**options)), root


def _decoded(text: str | None) -> str | None:
    return None if text is None else unquote(text)


def _http_options(address: str) -> dict[str, object]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
    )
    return {
        # HTTPS_PROXY, NO_PROXY and ~/.netrc count.
        "client_kwargs": {"timeout": timeout, "trust_env": True},
        # A presigned address is sent as it is: quoting it anew could break its signature.
        "encoded": address.isascii() and " " not in address,
    }


def _files(system: _FileSystem, address: str, root: str) -> list[tuple[str, str]]:
    """Each file's path there, and its path below the address."""
    if EXTRAS[scheme_of(address)] == "https":
        # `?` begins the query and brackets are of IPv6; a server that lists has only `*`.
        if "*" not in address.split("?", 1)[0]:
            return [(root, _last(root))]
        return [(path, _last(path)) for path in sorted(system.glob(root))]
    if is_pattern(root) and not system.exists(root):
        return [(path, _last(path)) for path in sorted(system.glob(root)) if _is_file(system, path)]
    if system.info(root)["type"] != "directory":
        return [(root, _last(root))]
    top = root.rstrip("/") + "/"
    # Object stores may keep an empty object for a folder, whose name ends with "/".
    paths = sorted(path for path in system.find(root) if not path.endswith("/"))
    return [(path, path.removeprefix(top)) for path in paths]


def _is_file(system: _FileSystem, path: str) -> bool:
    return system.info(path)["type"] != "directory"


def _last(path: str) -> str:
    return path.split("?", 1)[0].rstrip("/").rpartition("/")[2]


def _shown(address: str, shown: str, root: str, path: str) -> str:
    """The name of a file that was found below an address."""
    if not is_pattern(address):
        return shown.rstrip("/") + "/" + printable(path.removeprefix(root.rstrip("/") + "/"))
    if EXTRAS[scheme_of(address)] == "https":
        return shown_address(path)
    if scheme_of(address) == "sftp":
        host = shown.removeprefix("sftp://").partition("/")[0]
        return f"sftp://{host}{printable(path)}"
    return f"{scheme_of(address)}://{printable(path)}"


def _download(
    system: _FileSystem, path: str, name: str, address: str, spool: Spool, progress: Progress
) -> LocalFile | Problem:
    scheme = scheme_of(address)
    # What s3fs fetches at once of a large file would not be bounded otherwise.
    options = {"max_concurrency": 1} if EXTRAS[scheme] == "s3" else {}
    try:
        target = spool.new(name)
        expected = None if EXTRAS[scheme] == "https" else system.info(path).get("size")
        told = _callback(name, target, spool, progress)
        system.get_file(path, str(target), callback=told, **options)
    except FileRefused as refused:
        return Problem(str(refused))
    except Exception as error:  # As above.
        if isinstance(error, OSError) and error.filename == str(target):
            return Problem(f"{name}{no_space(error, target)}")
        return Problem(f"{name}: {remote_fault(error, scheme)}")
    size = target.stat().st_size
    if isinstance(expected, int) and size != expected:
        return Problem(
            f"{name}: the download was cut short: {size:,} of {expected:,} bytes came. Try again."
        )
    return LocalFile(name, target, temporary=True)


def _callback(name: str, target: Path, spool: Spool, progress: Progress) -> Callback:
    """Tells how far a download is, and looks after the space on the disk."""
    from fsspec.callbacks import Callback

    tell = teller(name, "fetching", progress)

    class Told(Callback):  # type: ignore[misc]  # fsspec has no types
        looked = 0

        def call(self, hook_name: str | None = None, **_: object) -> None:
            del hook_name
            if self.value >= self.looked:
                spool.check(name, 0, target)
                self.looked = self.value + _LOOK_EVERY
            tell(self.value)

    return Told()


def spool_pipe(
    open_pipe: Callable[[], AbstractContextManager[BinaryIO]],
    name: str,
    spool: Spool,
    progress: Progress,
) -> LocalFile | Problem:
    """Standard input or a pipe as a temporary file; it can be read only once."""
    try:
        with open_pipe() as pipe:

            def read(size: int) -> bytes:
                try:
                    return _read_when_ready(pipe, size)
                except OSError as error:
                    raise FileRefused(name, f": it cannot be read: {error.strerror}.") from None

            path = spool.save(name, read, doing="reading", progress=progress)
    except FileRefused as refused:
        return Problem(str(refused))
    except OSError as error:
        return Problem(f"{name}: it cannot be opened: {error.strerror}.")
    return LocalFile(name, path, temporary=True)


def _read_when_ready(pipe: BinaryIO, size: int) -> bytes:
    """What is there, at most `size` bytes; none at the end.

    A signal that comes just before a read is seen only behind it, so no read waits for long.
    """
    try:
        descriptor = pipe.fileno()
    except OSError:
        # standard input that is no file of the system
        return pipe.read(size)
    while not select.select([descriptor], [], [], _PATIENCE)[0]:
        pass
    # Of a large size nothing stays in the buffer, where select would not see it.
    return cast("io.BufferedReader", pipe).read1(size)


def standard_input() -> AbstractContextManager[BinaryIO]:
    """The bytes of standard input, which stays open. Raises OSError when there is none."""
    if sys.stdin is None:
        raise OSError(0, "there is no standard input")
    return nullcontext(sys.stdin.buffer)
