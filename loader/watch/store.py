"""A prefix of an object store, or a folder behind sftp, that files land in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from loader.errors import FileRefused
from loader.files.names import scheme_of
from loader.files.remote import Listed, RemoteFolder
from loader.printable import printable
from loader.watch.complete import Quiet
from loader.watch.places import (
    LEFT_OUT,
    REPORT,
    CannotMove,
    Found,
    PlaceGone,
    free_name,
    oldest_first,
)

# Each store has its own words for when an object was written, and for its content.
_WRITTEN = ("LastModified", "last_modified", "updated", "mtime", "modified")
_CONTENT = ("ETag", "etag", "generation", "crc32c", "md5Hash")


class Store:
    """See the protocol `Place`. An object appears when all of it is there; a file of sftp grows."""

    def __init__(
        self, address: str, *, interval: float, moves: bool, exclude: tuple[str, ...] = ()
    ) -> None:
        self._folder = RemoteFolder(address)
        self._grows = scheme_of(address) == "sftp"
        self._quiet = Quiet(interval)
        self._exclude = (*LEFT_OUT, *exclude)
        self.moves = moves

    def look(self) -> list[Found]:
        """See `Place`."""
        try:
            found = [self._found(one) for one in self._folder.list(self._exclude)]
        except FileRefused as refused:
            raise PlaceGone(str(refused)) from None
        self._quiet.forget_others({one.name for one in found})
        return oldest_first(found)

    def is_complete(self, found: Found) -> bool:
        """See `Place`."""
        return not self._grows or self._quiet.has_lasted(found)

    def is_unchanged(self, found: Found) -> bool:
        """See `Place`."""
        try:
            return found in self.look()
        except PlaceGone:
            return False

    def sha256(self, found: Found) -> str | None:  # noqa: ARG002 -- it would be a download
        """See `Place`."""
        return None

    def move(self, found: Found, folder: str, report: str | None) -> str:
        """See `Place`."""
        try:
            if not self.is_unchanged(found):
                raise CannotMove(f"{found.shown}: it has changed or gone")
            target = free_name(folder, found.name, lambda path: not self._folder.exists(path))
            beside = None if report is None else (f"{target}{REPORT}", report.encode())
            self._folder.move(found.name, target, beside)
        except FileRefused as refused:
            raise CannotMove(str(refused)) from None
        return f"{self._folder.shown}/{printable(target)}"

    def _found(self, one: Listed) -> Found:
        written = _moment(one.info)
        content = next((str(one.info[key]) for key in _CONTENT if one.info.get(key)), "")
        return Found(
            name=one.relative,
            path=self._folder.address + one.relative,
            shown=f"{self._folder.shown}/{printable(one.relative)}",
            identity=f"{content}-{one.info.get('size')}-{written}",
            modified=written,
        )


def _moment(info: Mapping[str, object]) -> float:
    """Seconds since 1970; 0 when the store does not tell."""
    for key in _WRITTEN:
        value = info.get(key)
        if isinstance(value, datetime):
            return value.timestamp() if value.tzinfo else value.replace(tzinfo=UTC).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            try:
                return datetime.fromisoformat(value).timestamp()
            except ValueError:
                continue
    return 0.0
