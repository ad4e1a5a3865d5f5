"""Remote addresses: a server that speaks S3, one that speaks HTTP, one that speaks SFTP."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import paramiko
import pytest
from support.files import USERS, collected, problem_of
from support.project import ROOT

from loader.errors import NothingToLoad
from loader.files import remote
from loader.files.names import shown_address, without_secrets

pytestmark = pytest.mark.slow
LONG, LARGE = USERS * 3000, USERS * 200_000


class Handler(BaseHTTPRequestHandler):
    """Answers by path. The query it was asked with is kept in the server."""

    asked: list[str]

    def do_GET(self) -> None:
        Handler.asked.append(self.path)
        path = self.path.split("?")[0]
        if path == "/moved.csv":
            self.send_response(302)
            self.send_header("Location", "/users.csv?sig=secret")
            self.end_headers()
        elif path.strip("/").isdigit():
            self.send_error(int(path.strip("/")))
        elif path == "/slow.csv":
            time.sleep(1)
        else:
            body = LARGE if path == "/large.csv" else USERS
            self.send_response(200)
            self.send_header("Content-Length", str(len(body) + (10 if path == "/cut.csv" else 0)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """A server of this process; its address."""
    Handler.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_a_file_of_the_web_is_fetched_and_named_without_its_secrets(web: str) -> None:
    query = "?X-Amz-Signature=a%2Fb%3D&c=%2B#part"
    address = web.replace("://", "://user:secret@") + "/users.csv" + query
    found, contents = collected(address, web + "/large.csv", web + "/moved.csv")
    files = {"users.csv": USERS, "large.csv": LARGE, "moved.csv": USERS}
    assert contents == {f"{web}/{name}": content for name, content in files.items()}
    assert not found.problems
    # As it was given: to quote it anew could break a signature.
    assert "/users.csv?X-Amz-Signature=a%2Fb%3D&c=%2B" in Handler.asked


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/404", "FileNotFoundError: "),
        ("/403", "ClientResponseError: 403, "),
        ("/503", "ClientResponseError: 503, "),
        ("/cut.csv", "ClientPayloadError: "),
    ],
)
def test_what_a_server_refuses_is_a_problem_without_secrets(web: str, path: str, said: str) -> None:
    address = web.replace("://", "://user:secret@") + path
    sentence = problem_of(address + ("?token=secret" if path != "/cut.csv" else ""))
    assert sentence.startswith(f"{web}{path}: it cannot be reached ({said}")
    assert "Check the address and the network. Credentials stand in ~/.netrc" in sentence
    assert "secret" not in sentence


def test_a_server_that_does_not_answer_is_a_problem(
    web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT", 0.2)
    assert "Timeout" in problem_of(web + "/slow.csv")
    assert "SSL" in problem_of(web.replace("http:", "https:") + "/x")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert "Cannot connect to host" in problem_of(f"http://127.0.0.1:{port}/a.csv")
    assert "Cannot connect to host" in problem_of("https://no-such-host.invalid/a.csv")


def test_problems_do_not_keep_other_files_back(web: str) -> None:
    found, contents = collected(web + "/404", web + "/users.csv", web + "/503")
    assert (list(contents), len(found.problems)) == ([f"{web}/users.csv"], 2)


@pytest.fixture
def bucket(s3_environment: str) -> str:
    """A bucket with files, which the environment leads to."""
    assert s3_environment
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    if not system.exists("lab"):
        system.mkdir("lab")
        keys = ("exports/users.csv", "exports/plate #1?.csv", "exports/2024/b.csv", "exports/.x")
        for key in keys:
            system.pipe(f"lab/{key}", USERS)
        system.pipe("lab/large.csv", LARGE)
        system.touch("lab/exports/folder/")
    return "s3://lab"


def test_an_object_arrives_when_it_was_written_and_a_page_when_it_is_fetched(
    bucket: str, web: str
) -> None:
    (first,), (again,) = (collected(f"{bucket}/exports/users.csv")[0].files for _ in range(2))
    assert first.changed_at == again.changed_at
    begun = time.time()
    (page,) = collected(f"{web}/users.csv")[0].files
    # Files' times are those of the system's last tick.
    assert page.changed_at > begun - 1


PLATE, OTHER = "exports/plate #1?.csv", "exports/2024/b.csv"


@pytest.mark.parametrize(
    ("paths", "exclude", "files", "skipped"),
    [
        ("exports", "2024", [PLATE, "exports/users.csv"], ["exports/.x", OTHER]),
        ("exports/", "2024", [PLATE, "exports/users.csv"], ["exports/.x", OTHER]),
        ("exports/**/*.csv", "none", [OTHER, PLATE, "exports/users.csv"], []),
        # What is meant twice comes once.
        (
            "exports/users.csv exports/u*.csv large.csv",
            "none",
            ["exports/users.csv", "large.csv"],
            [],
        ),
    ],
)
def test_objects_are_fetched_by_key_prefix_and_pattern(
    bucket: str, paths: str, exclude: str, files: list[str], skipped: list[str]
) -> None:
    addresses = [f"{bucket}/{path}" for path in paths.split(" ")]
    found, contents = collected(*addresses, *addresses, exclude=[exclude])
    wanted = {f"{bucket}/{key}": LARGE if key == "large.csv" else USERS for key in files}
    assert list(contents.items()) == list(wanted.items())
    assert [*found.skipped] == [f"{bucket}/{key}" for key in skipped]
    assert all(file.temporary for file in found.files)
    assert not found.problems


def test_a_pattern_that_no_object_matches_is_a_wrong_call(bucket: str) -> None:
    with pytest.raises(NothingToLoad, match=r"^s3://lab/\*\.xlsx: there is no file there"):
        collected(f"{bucket}/*.xlsx")


def test_what_an_object_store_refuses_is_a_problem(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "it cannot be reached (FileNotFoundError: "
    assert problem_of(f"{bucket}/none.csv").startswith(f"{bucket}/none.csv: {missing}")
    assert missing in problem_of("s3://no-such-bucket/a.csv")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    sentence = problem_of(f"{bucket}/large.csv")
    assert "redentials" in sentence.partition(")")[0]
    assert "Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in sentence


# Module and address, and the extra that brings it.
MISSING = {
    ("s3fs", "s3://user:secret@lab/a.csv"): "s3",
    ("aiohttp", "https://lab.example/a.csv?secret"): "https",
    ("paramiko", "sftp://user:secret@lab/a.csv"): "sftp",
    ("gcsfs", "gs://lab/a.csv"): "gs",
    ("adlfs", "abfs://lab/a.csv"): "az",
    ("fsspec", "s3://lab/a.csv"): "s3",
}


def test_a_missing_package_names_the_extra() -> None:
    program = f"""if True:
        import sys
        from loader.errors import MissingExtra
        from loader.files import collect
        for module, address in {[*MISSING]}:
            sys.modules[module] = None
            try:
                collect([address], progress=print).__enter__()
            except MissingExtra as missing:
                print(str(missing).replace("\\n", " "))
    """
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout
    sentences = [line for line in told.splitlines() if "connecting" not in line]
    for sentence, extra in zip(sentences, MISSING.values(), strict=True):
        assert f"`.venv/bin/pip install --editable '.[{extra}]'`" in sentence
    assert "secret" not in told


def test_every_extra_is_declared_and_tested_in_the_version_that_is_declared() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = document["project"]["optional-dependencies"]
    # The others are engines, the service, and what reads the models.
    addresses = set(extras) - {"duckdb", "sail", "spark", "service", "mcp", "metrics", "docs"}
    assert addresses == set(remote.EXTRAS.values())
    installed = (ROOT / "requirements" / "dev.txt").read_text().split()
    for extra in ("s3", "https", "sftp"):
        assert set(extras[extra]) <= set(installed)
    assert len({pin for pins in extras.values() for pin in pins if pin.startswith("fsspec=")}) == 1


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("HTTPS://user:pw@h:1/a%20b.csv?sig=x#y", "https://h:1/a%20b.csv"),
        ("https://h?token=x", "https://h"),
        ("s3://bucket/a #1?.csv", "s3://bucket/a #1?.csv"),
        ("sftp://user:p@ss@host/a.csv", "sftp://host/a.csv"),
        ("abfs://box@account.example/a.csv", "abfs://box@account.example/a.csv"),
        ("abfs://box:key@account.example/a.csv", "abfs://account.example/a.csv"),
        ("s3://b/\x1b[31m\n.csv", "s3://b/\\x1b[31m\\n.csv"),
    ],
)
def test_addresses_are_shown_without_secrets(address: str, shown: str) -> None:
    assert shown_address(address) == shown


def test_texts_are_shown_without_secrets() -> None:
    text = "403, url='https://u:p@h/x?sig=secret', and (s3://k:secret@b/c)"
    assert re.search("secret", without_secrets(text)) is None


# SFTP: a real server in a thread, known and unknown.


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
def ssh() -> Iterator[tuple[int, paramiko.PKey]]:
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
def known(home: Path, ssh: tuple[int, paramiko.PKey]) -> str:
    """The server's address; its key is known."""
    port, key = ssh
    line = f"[127.0.0.1]:{port} {key.get_name()} {key.get_base64()}\n"
    (home / "known_hosts").write_text(line)
    return f"sftp://ada:p%40ss@127.0.0.1:{port}"


def test_files_folders_and_patterns_are_fetched(known: str, tmp_path: Path) -> None:
    lab = tmp_path / "lab #1"
    (lab / "sub").mkdir(parents=True)
    for name in ("a.csv", "sub/b.csv", ".hidden"):
        (lab / name).write_bytes(LONG)
    shown = f"sftp://{known.rpartition('@')[2]}{lab}"
    both = {f"{shown}/a.csv": LONG, f"{shown}/sub/b.csv": LONG}
    for path, contents in (("", both), ("/*.csv", {f"{shown}/a.csv": LONG})):
        assert collected(f"{known}{lab}{path}")[1] == contents
    assert collected(f"{known}{lab}/sub/b.csv")[1] == {f"{shown}/sub/b.csv": LONG}
    problem = problem_of(f"{known}{lab}/none.csv")
    assert "none.csv: it cannot be reached (FileNotFoundError" in problem


def test_a_wrong_password_is_a_problem(known: str) -> None:
    problem = problem_of(known.replace("p%40ss", "wrong") + "/a.csv")
    assert "AuthenticationException" in problem
    assert "wrong" not in problem


@pytest.mark.parametrize("known_hosts", ["", "another key"])
def test_a_server_that_is_not_the_known_one_gets_no_password(
    home: Path, ssh: tuple[int, paramiko.PKey], known_hosts: str
) -> None:
    port, _ = ssh
    if known_hosts:
        other = paramiko.ECDSAKey.generate()
        line = f"[127.0.0.1]:{port} {other.get_name()} {other.get_base64()}\n"
        (home / "known_hosts").write_text(line)
    problem = problem_of(f"sftp://ada:p%40ss@127.0.0.1:{port}/a.csv")
    assert "BadHostKeyException" in problem or "not found in known_hosts" in problem
