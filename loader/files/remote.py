"""Remote files, fetched into temporary files.

fsspec and the libraries below it do the transfer. Each takes its settings from its usual sources
(AWS_*, GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_*, ssh-agent, FSSPEC_*).
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from loader.errors import FileRefused, MissingExtra, NothingToLoad
from loader.files.content import ListedFile, LocalFile, Spool, cannot_write
from loader.files.names import in_reading_order, scheme_of, shown_address, without_secrets
from loader.printable import printable

# For each scheme, the extra of labmart that reads it.
EXTRAS = {
    **dict.fromkeys(("s3", "s3a"), "s3"),
    **dict.fromkeys(("gs", "gcs"), "gs"),
    **dict.fromkeys(("az", "abfs", "abfss"), "az"),
    **dict.fromkeys(("https", "http"), "https"),
    "sftp": "sftp",
}
# Seconds without a response. A download as a whole has no time limit.
CONNECT_TIMEOUT = 20
READ_TIMEOUT = 60
# Each store has its own keys for an object's modification time and content version.
_CHANGED = ("LastModified", "last_modified", "updated", "mtime", "modified")
_CONTENT = ("ETag", "etag", "generation", "crc32c", "md5Hash")
# How each extra finds its credentials.
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


def _changed_at(info: Mapping[str, object]) -> float:
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


def check_scheme(address: str) -> None:
    """Raise NothingToLoad for an address with an unknown scheme, or without a server or bucket."""
    if scheme_of(address) not in EXTRAS:
        kinds = ", ".join(f"{scheme}://" for scheme in sorted(EXTRAS))
        raise NothingToLoad(
            shown_address(address), f"labmart knows no addresses of this kind, only {kinds}."
        )
    if not address.partition("://")[2].strip("/"):
        raise NothingToLoad(shown_address(address), "this address names no server or bucket.")


class Remote:
    """An address and its file system. Raises MissingExtra.

    `root` is the address within the file system. Exceptions of fsspec and the libraries below it
    pass through, because they have no common base class.
    """

    def __init__(self, address: str) -> None:
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
        # fsspec's cached instances would remember old listings.
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

    def files(self) -> list[ListedFile]:
        """The file, or the files of the prefix or pattern, in reading order."""
        system, root = self.system, self.root
        infos: Mapping[str, Mapping[str, object]]
        if self.is_web:
            infos = {root: {}}
        elif glob.has_magic(root) and not system.exists(root):
            infos = system.glob(root, detail=True)
        elif (info := system.info(root))["type"] != "directory":
            infos = {root: info}
        else:
            infos = system.find(root, detail=True)
        # Object stores may represent a folder by an empty object.
        files = [
            self._listed(path, info)
            for path, info in infos.items()
            if info.get("type") != "directory" and not path.endswith("/")
        ]
        return in_reading_order(files, name=lambda file: file.path)

    def _listed(self, path: str, info: Mapping[str, object]) -> ListedFile:
        top = self.root.rstrip("/") + "/"
        last = path.split("?", 1)[0].rstrip("/").rpartition("/")[2]
        relative = path.removeprefix(top) if path.startswith(top) else last
        name = self.shown
        if path != self.root:
            # In object stores the path begins with the bucket, as the address does.
            below = path if self.scheme == "sftp" else path.partition("/")[2]
            name = f"{'/'.join(name.split('/')[:3])}/{printable(below.lstrip('/'))}"
        size, changed_at = info.get("size"), _changed_at(info)
        content = next((str(info[key]) for key in _CONTENT if info.get(key)), "")
        identity = f"{content}-{size}-{changed_at}"
        known_size = size if isinstance(size, int) else None
        return ListedFile(path, relative, name, identity, changed_at, known_size)

    def download(self, file: ListedFile, spool: Spool) -> LocalFile:
        """Download to a temporary file. Raises FileRefused."""
        # Otherwise s3fs would fetch an unbounded amount of a large file at once.
        options = {"max_concurrency": 1} if self.extra == "s3" else {}
        target = spool.new(file.name)
        with faults_told(file.name, self.scheme, target):
            from fsspec.callbacks import Callback

            tell = spool.watch(file.name, "fetching", target)
            callback = Callback(hooks={"bytes": lambda _size, value, **_: tell(value)})
            self.system.get_file(file.path, str(target), callback=callback, **options)
        size = target.stat().st_size
        if file.size not in (None, size):
            cut = f"the download was cut short: {size:,} of {file.size:,} bytes came. Try again."
            raise FileRefused(file.name, f": {cut}")
        return LocalFile(file.name, target, temporary=True, changed_at=file.changed_at)

    def write(self, path: str, content: bytes) -> None:
        """Write a small file to a path in the file system."""
        self._make_folder_of(path)
        self.system.pipe_file(path, content)

    def move(self, path: str, target: str) -> None:
        """Move a file to a free path; both are paths in the file system."""
        self._make_folder_of(target)
        if self.scheme == "sftp":
            self.system.mv(path, target)
        else:
            self.system.cp_file(path, target)
            self.system.rm_file(path)

    def _make_folder_of(self, path: str) -> None:
        # Elsewhere, folders are only parts of names.
        if self.scheme == "sftp":
            self.system.makedirs(path.rpartition("/")[0], exist_ok=True)


@contextmanager
def faults_told(name: str, scheme: str, target: Path | None = None) -> Iterator[None]:
    """Turn exceptions of fsspec, or of writing the target, into FileRefused.

    It quotes the library, because the exceptions share neither a class nor a status.
    """
    try:
        yield
    except (MissingExtra, FileRefused):
        raise
    except Exception as error:
        if target and isinstance(error, OSError) and error.filename == str(target):
            raise FileRefused(name, cannot_write(error)) from None
        reason = without_secrets(f"{type(error).__name__}: {error}")
        raise FileRefused(
            name,
            f": it cannot be reached ({reason}). Check the address and the network. Credentials "
            f"{_CREDENTIALS[EXTRAS[scheme]]}.",
        ) from None


def _http_options(address: str) -> dict[str, object]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(
        total=None, sock_connect=CONNECT_TIMEOUT, sock_read=READ_TIMEOUT
    )
    return {
        # Respect HTTPS_PROXY, NO_PROXY and ~/.netrc.
        "client_kwargs": {"timeout": timeout, "trust_env": True},
        # Send a presigned address unchanged: quoting it again could break its signature.
        "encoded": address.isascii() and " " not in address,
    }


def _sftp_options(address: str) -> dict[str, object]:
    # The rest of the address is a path, which may contain `?` and `#`.
    place = urlsplit("sftp://" + address.split("://", 1)[1].partition("/")[0])
    account = {"username": place.username, "password": place.password}
    return {
        "host": place.hostname or "",
        "port": place.port or 22,
        **{key: None if text is None else unquote(text) for key, text in account.items()},
        **dict.fromkeys(("timeout", "banner_timeout", "auth_timeout"), CONNECT_TIMEOUT),
    }


def _known_hosts_only(sftp: type) -> type:
    """fsspec's sftp file system, limited to servers in ~/.ssh/known_hosts, as `ssh` is.

    fsspec itself accepts any key, and so any server in the middle.
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
