"""SFTP: a real server in a thread, known and unknown."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from loader.files import collect

pytestmark = pytest.mark.slow
USERS = b"user_id,name,email,signup_date\n7,Ada,ada@lab.example,2023-01-01\n" * 3000


class Login(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Lets `ada` in, with the password `p@ss`."""

    def check_auth_password(self, username: str, password: str) -> int:
        right = (username, password) == ("ada", "p@ss")
        return int(paramiko.AUTH_SUCCESSFUL if right else paramiko.AUTH_FAILED)

    def check_channel_request(self, *_: object) -> int:
        return int(paramiko.OPEN_SUCCEEDED)


class Files(paramiko.SFTPServerInterface):  # type: ignore[misc]  # as above
    """The files of this machine, to be read."""

    def list_folder(self, path: str) -> list[paramiko.SFTPAttributes] | int:
        return [
            paramiko.SFTPAttributes.from_stat(entry.stat(), entry.name)
            for entry in Path(path).iterdir()
        ]

    def stat(self, path: str) -> paramiko.SFTPAttributes | int:
        try:
            return paramiko.SFTPAttributes.from_stat(Path(path).stat())
        except OSError as error:
            return int(paramiko.SFTPServer.convert_errno(error.errno))

    lstat = stat

    def open(self, path: str, flags: int, _: object) -> paramiko.SFTPHandle | int:
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = Path(path).open("rb")  # noqa: SIM115 -- the handle closes it
        handle.stat = lambda: paramiko.SFTPAttributes.from_stat(os.fstat(handle.readfile.fileno()))
        return handle


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[int, paramiko.PKey]]:
    """Port and key of a server."""
    key = paramiko.ECDSAKey.generate()
    listening = socket.create_server(("127.0.0.1", 0))
    transports = []

    def serve() -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            transport = paramiko.Transport(connection)
            transport.add_server_key(key)
            transport.set_subsystem_handler("sftp", paramiko.SFTPServer, Files)
            transport.start_server(event=threading.Event(), server=Login())
            transports.append(transport)

    threading.Thread(target=serve, daemon=True).start()
    yield listening.getsockname()[1], key
    listening.close()
    for transport in transports:
        transport.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without keys and agent."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    folder = tmp_path / "home" / ".ssh"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def known(home: Path, server: tuple[int, paramiko.PKey]) -> str:
    """The server's address; its key is known."""
    port, key = server
    line = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
    (home / "known_hosts").write_text(line)
    return f"sftp://ada:p%40ss@127.0.0.1:{port}"


def fetched(path: str) -> tuple[dict[str, bytes], str]:
    with collect([path], progress=lambda _: None) as found:
        contents = {file.name: file.path.read_bytes() for file in found.files}
    return contents, "\n".join(found.problems)


def test_files_folders_and_patterns_are_fetched(known: str, tmp_path: Path) -> None:
    lab = tmp_path / "lab #1"
    (lab / "sub").mkdir(parents=True)
    for name in ("a.csv", "sub/b.csv", ".hidden"):
        (lab / name).write_bytes(USERS)
    shown = f"sftp://{known.rpartition('@')[2]}{lab}"
    assert fetched(f"{known}{lab}/a.csv") == ({f"{shown}/a.csv": USERS}, "")
    both = {f"{shown}/a.csv": USERS, f"{shown}/sub/b.csv": USERS}
    assert fetched(f"{known}{lab}") == (both, "")
    assert fetched(f"{known}{lab}/*.csv") == ({f"{shown}/a.csv": USERS}, "")
    contents, problem = fetched(f"{known}{lab}/none.csv")
    assert contents == {}
    assert "none.csv: it cannot be reached (FileNotFoundError" in problem


def test_a_wrong_password_is_a_problem(known: str) -> None:
    contents, problem = fetched(known.replace("p%40ss", "wrong") + "/a.csv")
    assert contents == {}
    assert "AuthenticationException" in problem
    assert "wrong" not in problem


@pytest.mark.parametrize("known_hosts", ["", "another key"])
def test_a_server_that_is_not_the_known_one_gets_no_password(
    home: Path, server: tuple[int, paramiko.PKey], known_hosts: str
) -> None:
    port, _ = server
    if known_hosts:
        other = paramiko.ECDSAKey.generate()
        line = f"[127.0.0.1]:{port} {other.get_name()} {other.get_base64()}\n"
        (home / "known_hosts").write_text(line)
    contents, problem = fetched(f"sftp://ada:p%40ss@127.0.0.1:{port}/a.csv")
    assert contents == {}
    assert "BadHostKeyException" in problem or "not found in known_hosts" in problem
