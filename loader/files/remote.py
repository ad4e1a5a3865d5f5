"""What lies at remote addresses, brought into temporary files.

fsspec and the libraries below it do the talking. Their settings are taken from where each of them
looks (AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*, ssh-agent, FSSPEC_*).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loader.errors import FileRefused, MissingExtra, NothingToLoad
from loader.files.names import (
    in_reading_order,
    is_excluded,
    is_left_over,
    is_passed_over,
    is_pattern,
    scheme_of,
    shown_address,
    without_secrets,
)
from loader.files.paths import LocalFile, Result, Skipped, Spool, cannot_write, nothing_left
from loader.printable import printable

# Scheme: the extra of labmart that reads it.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "az"),
    **dict.fromkeys(("https", "http"), "https"),
    "sftp": "sftp",
}
# Seconds without any answer. A whole download may take as long as it takes.
CONNECT_TIMEOUT = 20
READ_TIMEOUT = 60
# Each store has its own word for when an object was last changed.
_CHANGED = ("LastModified", "last_modified", "updated", "mtime", "modified")


@dataclass(frozen=True)
class Listed:
    """A file below an address: its path there, the path below the address, what is known of it."""

    path: str
    relative: str
    info: Mapping[str, object]


def check_scheme(address: str) -> None:
    """Raise NothingToLoad for an address of a kind that labmart does not know, or of nothing."""
    if scheme_of(address) not in EXTRAS:
        known = ", ".join(f"{scheme}://" for scheme in sorted(EXTRAS))
        raise NothingToLoad(
            shown_address(address), f"labmart knows no addresses of this kind, only {known}."
        )
    if not address.partition("://")[2].strip("/"):
        raise NothingToLoad(shown_address(address), "this address names no server or bucket.")


class Remote:
    """An address, and the file system that it leads to. Raises MissingExtra.

    `root` is what the file system calls the address. What fsspec and the libraries below it raise
    passes through: they have no base class in common.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self.shown = shown_address(address)
        self.scheme = scheme_of(address)
        self.extra = EXTRAS[self.scheme]
        self.is_web = self.extra == "https"
        try:
            import fsspec

            # fsspec's list of known schemes lacks one that adlfs reads.
            kind = fsspec.get_filesystem_class("abfs" if self.scheme == "abfss" else self.scheme)
        except ImportError:
            raise MissingExtra(self.shown, self.extra) from None
        # Not from fsspec's cache of instances: it would remember what lay there.
        options: dict[str, object] = {"skip_instance_cache": True}
        if self.is_web:
            options |= _http_options(address)
            self.root = address
        elif self.scheme == "sftp":
            kind = _known_hosts_only(kind)
            options |= _sftp_options(address)
            self.root = "/" + address.split("://", 1)[1].partition("/")[2]
        else:
            options |= kind._get_kwargs_from_urls(address)
            self.root = str(kind._strip_protocol(address))
        # fsspec has no types.
        self.system: Any = kind(**options)

    def files(self) -> list[Listed]:
        """The file, or the files of the prefix or pattern, in reading order."""
        system, root = self.system, self.root
        if self.is_web:
            return [Listed(root, _last(root), {})]
        if is_pattern(root) and not system.exists(root):
            found = system.glob(root, detail=True).items()
            listed = [Listed(p, _last(p), info) for p, info in found if info["type"] != "directory"]
        elif (info := system.info(root))["type"] != "directory":
            return [Listed(root, _last(root), info)]
        else:
            listed = self.below()
        return in_reading_order(listed, name=lambda file: file.path)

    def below(self) -> list[Listed]:
        """The files below a folder, in any order."""
        top = self.root.rstrip("/") + "/"
        return [
            Listed(path, path.removeprefix(top), info)
            for path, info in self.system.find(self.root, detail=True).items()
            # Object stores may keep an empty object for a folder.
            if not path.endswith("/")
        ]

    def name_of(self, path: str) -> str:
        """What people call a file that was listed."""
        if path == self.root:
            return self.shown
        # What lies before the file in both, up to the first part that is a pattern.
        has_pattern = is_pattern(self.address)
        top, shown = (
            re.split(r"[*?[]", place, maxsplit=1)[0].rpartition("/")[0] if has_pattern else place
            for place in (self.root.rstrip("/"), self.shown.rstrip("/"))
        )
        return f"{shown}/{printable(path.removeprefix(f'{top}/'))}"

    def download(self, file: Listed, spool: Spool) -> LocalFile:
        """The file as a temporary one. Raises FileRefused."""
        name = self.name_of(file.path)
        # What s3fs fetches at once of a large file would not be bounded otherwise.
        options = {"max_concurrency": 1} if self.extra == "s3" else {}
        target = spool.new(name)
        with _faults_told(name, self.scheme, target):
            from fsspec.callbacks import Callback

            tell = spool.watch(name, "fetching", target)
            callback = Callback(hooks={"bytes": lambda _size, value, **_: tell(value)})
            self.system.get_file(file.path, str(target), callback=callback, **options)
        size, expected = target.stat().st_size, file.info.get("size")
        if isinstance(expected, int) and size != expected:
            cut = f"the download was cut short: {size:,} of {expected:,} bytes came. Try again."
            raise FileRefused(name, f": {cut}")
        return LocalFile(name, target, temporary=True, changed_at=changed_at(file.info) or None)


def fetch(
    address: str, *, exclude: Sequence[str], spool: Spool, seen: set[str]
) -> Iterator[Result]:
    """Download the file of an address, or the files of a prefix or pattern, in reading order.

    What is `seen` is not fetched again, and what is fetched is added to it. Raises MissingExtra,
    NothingToLoad for a pattern that matches nothing, and FileRefused if nothing can be listed.
    """
    shown = shown_address(address)
    spool.progress(f"{shown}: connecting")
    with _faults_told(shown, scheme_of(address)):
        remote = Remote(address)
        files = remote.files()
    skipped: list[Result] = []
    for file in files:
        name = remote.name_of(file.path)
        is_named = file.path == remote.root
        if (is_left_over(file.relative) and not is_named) or is_excluded(file.relative, exclude):
            skipped.append(Skipped(name))
            yield skipped[-1]
            continue
        # Of two addresses of the web that differ in their query, each is a file of its own.
        key = file.path if remote.is_web else name
        if key not in seen:
            seen.add(key)
            try:
                yield remote.download(file, spool)
            except FileRefused as refused:
                yield refused
    if len(skipped) == len(files):
        raise NothingToLoad(shown, nothing_left(skipped))


class RemoteFolder:
    """A prefix of an object store, or a folder behind sftp, that is listed again and again.

    Raises NothingToLoad for an address of another kind; its methods raise FileRefused, and
    MissingExtra.
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
        """All files but left-over and excluded ones."""
        with self._remote("") as remote:
            files = remote.below() if remote.system.exists(remote.root) else []
        return [file for file in files if not is_passed_over(file.relative, exclude)]

    def exists(self, relative: str) -> bool:
        """Whether there is a file of this path."""
        with self._remote(relative) as remote:
            return bool(remote.system.exists(f"{remote.root.rstrip('/')}/{relative}"))

    def move(self, relative: str, target: str, beside: tuple[str, bytes] | None) -> None:
        """Copy a file and delete the first one; write a small file before."""
        with self._remote(relative) as remote:
            system, top = remote.system, remote.root.rstrip("/")
            if beside is not None:
                system.pipe_file(f"{top}/{beside[0]}", beside[1])
            if remote.scheme == "sftp":
                system.makedirs(f"{top}/{target}".rpartition("/")[0], exist_ok=True)
                system.mv(f"{top}/{relative}", f"{top}/{target}")
            else:
                system.cp_file(f"{top}/{relative}", f"{top}/{target}")
                system.rm_file(f"{top}/{relative}")

    @contextmanager
    def _remote(self, relative: str) -> Iterator[Remote]:
        """The folder as it is now; its faults, told of a file."""
        with _faults_told(f"{self.shown}/{printable(relative)}", scheme_of(self.address)):
            yield Remote(self.address)


@contextmanager
def _faults_told(name: str, scheme: str, target: Path | None = None) -> Iterator[None]:
    """Raise FileRefused for what fsspec raises, or the writing of the target."""
    try:
        yield
    except (MissingExtra, FileRefused):
        raise
    except Exception as error:
        fault = f": {remote_fault(error, scheme)}"
        if target and isinstance(error, OSError) and error.filename == str(target):
            fault = cannot_write(error)
        raise FileRefused(name, fault) from None


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


def _sftp_options(address: str) -> dict[str, object]:
    # The rest of the address is a path, with `?` and `#` in it as they may be.
    place = urlsplit("sftp://" + address.split("://", 1)[1].partition("/")[0])
    account = {"username": place.username, "password": place.password}
    return {
        "host": place.hostname or "",
        "port": place.port or 22,
        **{key: None if text is None else unquote(text) for key, text in account.items()},
        **dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), CONNECT_TIMEOUT),
    }


def _known_hosts_only(sftp: type) -> type:
    """fsspec's file system, talking to servers of ~/.ssh/known_hosts alone, as `ssh` does.

    fsspec by itself takes any key, and so any server that is in the way.
    """
    import paramiko

    class KnownHosts(sftp):  # type: ignore[misc]  # fsspec has no types
        def _connect(self) -> None:
            self.client = paramiko.SSHClient()
            self.client.load_system_host_keys()
            self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            self.client.connect(self.host, **self.ssh_kwargs)
            self.ftp = self.client.open_sftp()

    return KnownHosts


def _last(path: str) -> str:
    return path.split("?", 1)[0].rstrip("/").rpartition("/")[2]


_CREDENTIALS = {
    "s3": "are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; public data need "
    "FSSPEC_S3_ANON=true",
    "gs": "come from `gcloud auth application-default login` or GOOGLE_APPLICATION_CREDENTIALS; "
    "public data need FSSPEC_GS_TOKEN=anon",
    "az": "are AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or "
    "AZURE_STORAGE_CONNECTION_STRING",
    "https": "stand in ~/.netrc, and a presigned address may have expired",
    "sftp": "are a key in ssh-agent (`ssh-add`), or sftp://user:password@host/path; the server has "
    "to be in ~/.ssh/known_hosts, as `ssh` puts it there",
}


def remote_fault(error: BaseException, scheme: str) -> str:
    """What went wrong and what to do next, to stand behind a name and a colon.

    In the words of the library: what they raise has neither a class nor a status in common.
    """
    reason = without_secrets(f"{type(error).__name__}: {error}")
    return (
        f"it cannot be fetched ({reason}). Check the address and the network. Credentials "
        f"{_CREDENTIALS[EXTRAS[scheme]]}."
    )


def changed_at(info: Mapping[str, object]) -> float:
    """When a file was last changed, in seconds since 1970; 0 when the store does not tell."""
    for key in _CHANGED:
        value = info.get(key)
        if isinstance(value, str):
            with suppress(ValueError):
                value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return value.timestamp() if value.tzinfo else value.replace(tzinfo=UTC).timestamp()
        if isinstance(value, (int, float)):
            return float(value)
    return 0.0
