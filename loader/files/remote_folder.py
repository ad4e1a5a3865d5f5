"""A folder elsewhere, for whoever looks at it again and again and may move what lies in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, cast

from loader.errors import FileRefused, MissingExtra, NothingToLoad
from loader.files.faults import remote_fault
from loader.files.names import is_excluded, is_left_over, scheme_of, shown_address
from loader.files.paths import is_pattern
from loader.files.remote import EXTRAS, check_scheme, open_system
from loader.printable import printable


class _FileSystem(Protocol):
    """What is used of fsspec's file systems."""

    def exists(self, path: str) -> bool: ...
    def find(self, path: str, *, detail: bool) -> Mapping[str, Mapping[str, object]]: ...
    def pipe_file(self, path: str, value: bytes) -> None: ...
    def cp_file(self, path1: str, path2: str) -> None: ...
    def rm_file(self, path: str) -> None: ...
    def mv(self, path1: str, path2: str) -> None: ...
    def makedirs(self, path: str, exist_ok: bool) -> None: ...


@dataclass(frozen=True)
class Listed:
    """A file below an address: its path there, the path below the address, what is known of it."""

    path: str
    relative: str
    info: Mapping[str, object]


class RemoteFolder:
    """A prefix of an object store, or a folder behind sftp.

    Raises NothingToLoad for an address of another kind.
    """

    def __init__(self, address: str) -> None:
        check_scheme(address)
        if EXTRAS[scheme_of(address)] == "https" or is_pattern(address):
            raise NothingToLoad(
                shown_address(address), "this is no folder that can be looked at again and again."
            )
        self.address = address.rstrip("/") + "/"
        self.shown = shown_address(address).rstrip("/")

    def list(self, exclude: Sequence[str]) -> list[Listed]:
        """All files but left-over and excluded ones. Raises MissingExtra or FileRefused."""
        try:
            system, root = self._open()
            top = root.rstrip("/") + "/"
            found = system.find(root, detail=True) if system.exists(root) else {}
        except MissingExtra:
            raise
        except Exception as error:  # Each library has its own.
            raise self._fault("", error) from None
        listed = [Listed(path, path.removeprefix(top), info) for path, info in found.items()]
        return [
            one
            for one in listed
            if not one.path.endswith("/")
            and not is_left_over(one.relative)
            and not is_excluded(one.relative, exclude)
        ]

    def exists(self, relative: str) -> bool:
        """Whether there is a file of this path. Raises FileRefused."""
        try:
            system, root = self._open()
            return system.exists(f"{root.rstrip('/')}/{relative}")
        except Exception as error:
            raise self._fault(relative, error) from None

    def move(self, relative: str, target: str, beside: tuple[str, bytes] | None) -> None:
        """Copy a file and delete the first one; write a small file before. Raises FileRefused."""
        try:
            system, root = self._open()
            top = root.rstrip("/")
            if beside is not None:
                system.pipe_file(f"{top}/{beside[0]}", beside[1])
            if scheme_of(self.address) == "sftp":
                system.makedirs(f"{top}/{target}".rpartition("/")[0], exist_ok=True)
                system.mv(f"{top}/{relative}", f"{top}/{target}")
            else:
                system.cp_file(f"{top}/{relative}", f"{top}/{target}")
                system.rm_file(f"{top}/{relative}")
        except Exception as error:
            raise self._fault(relative, error) from None

    def _fault(self, relative: str, error: Exception) -> FileRefused:
        name = f"{self.shown}/{printable(relative)}"
        return FileRefused(name, f": {remote_fault(error, scheme_of(self.address))}")

    def _open(self) -> tuple[_FileSystem, str]:
        # Anew each time: fsspec would remember what lay there.
        system, root = open_system(self.address)
        return cast("_FileSystem", system), root
