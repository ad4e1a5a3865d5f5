"""SFTP as `ssh` does it: only servers whose key is known are talked to.

fsspec by itself takes any key, and so any server that is in the way.
"""

from __future__ import annotations

import paramiko
from fsspec.implementations.sftp import SFTPFileSystem


class KnownHosts(SFTPFileSystem):  # type: ignore[misc]  # fsspec has no types
    """fsspec's file system, with ~/.ssh/known_hosts."""

    def _connect(self) -> None:
        self.client = paramiko.SSHClient()
        self.client.load_system_host_keys()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        self.client.connect(self.host, **self.ssh_kwargs)
        self.ftp = self.client.open_sftp()
