"""Remote addresses: a server that speaks S3, one that speaks HTTP, one that speaks SFTP."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from support.project import ROOT

from loader.errors import NothingToLoad
from loader.files import Collected, collect, remote
from loader.files.content import DecompressedStream
from loader.files.names import shown_address, without_secrets

pytestmark = pytest.mark.slow
USERS = b"user_id,name,email,signup_date\n7,Ada,ada@lab.example,2023-01-01\n"
LARGE = USERS * 200_000


def fetched(*paths: str, exclude: tuple[str, ...] = ()) -> tuple[Collected, dict[str, bytes]]:
    with collect(paths, exclude=exclude, progress=lambda _: None) as found:
        contents = {}
        for file in found.files:
            assert file.temporary
            with DecompressedStream(file.path) as stream:
                contents[file.name] = stream.read()
    assert not any(file.path.exists() for file in found.files)
    return found, contents


def problem(path: str) -> str:
    found, contents = fetched(path)
    assert contents == {}
    (sentence,) = found.problems
    return sentence


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
    found, contents = fetched(address, web + "/large.csv")
    assert contents == {f"{web}/users.csv": USERS, f"{web}/large.csv": LARGE}
    assert not found.problems
    # As it was given: to quote it anew could break a signature.
    assert Handler.asked[-2] == "/users.csv?X-Amz-Signature=a%2Fb%3D&c=%2B"


def test_a_redirection_is_followed(web: str) -> None:
    _, contents = fetched(web + "/moved.csv")
    assert contents == {f"{web}/moved.csv": USERS}


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
    sentence = problem(address + ("?token=secret" if path != "/cut.csv" else ""))
    assert sentence.startswith(f"{web}{path}: it cannot be reached ({said}")
    assert "Check the address and the network. Credentials stand in ~/.netrc" in sentence
    assert "secret" not in sentence


def test_a_server_that_does_not_answer_is_a_problem(
    web: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "READ_TIMEOUT", 0.2)
    assert "Timeout" in problem(web + "/slow.csv")
    assert "SSL" in problem(web.replace("http:", "https:") + "/x")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    assert "Cannot connect to host" in problem(f"http://127.0.0.1:{port}/a.csv")
    assert "Cannot connect to host" in problem("https://no-such-host.invalid/a.csv")


def test_problems_do_not_keep_other_files_back(web: str) -> None:
    found, contents = fetched(web + "/404", web + "/users.csv", web + "/503")
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


def test_an_object_is_fetched(bucket: str) -> None:
    _, contents = fetched(f"{bucket}/exports/users.csv", f"{bucket}/large.csv")
    assert contents == {f"{bucket}/exports/users.csv": USERS, f"{bucket}/large.csv": LARGE}


def test_an_object_that_is_meant_twice_comes_once(bucket: str) -> None:
    paths = [f"{bucket}/exports/users.csv", f"{bucket}/exports/u*.csv", f"{bucket}/exports/2024"]
    found, _ = fetched(*paths, *paths)
    assert [file.name for file in found.files] == [paths[0], f"{bucket}/exports/2024/b.csv"]


def test_an_object_arrives_when_it_was_written_and_a_page_when_it_is_fetched(
    bucket: str, web: str
) -> None:
    (first,), (again,) = (fetched(f"{bucket}/exports/users.csv")[0].files for _ in range(2))
    assert first.changed_at == again.changed_at
    begun = time.time()
    (page,) = fetched(f"{web}/users.csv")[0].files
    # Files' times are those of the system's last tick.
    assert page.changed_at > begun - 1


@pytest.mark.parametrize("end", ["", "/"])
def test_a_prefix_means_all_objects_below(bucket: str, end: str) -> None:
    found, contents = fetched(f"{bucket}/exports{end}", exclude=("2024",))
    assert list(contents) == [f"{bucket}/exports/plate #1?.csv", f"{bucket}/exports/users.csv"]
    assert (*found.skipped,) == (f"{bucket}/exports/.x", f"{bucket}/exports/2024/b.csv")
    assert not found.problems


def test_a_pattern_means_the_objects_that_match(bucket: str) -> None:
    _, contents = fetched(f"{bucket}/exports/**/*.csv")
    assert set(contents) == {
        f"{bucket}/exports/plate #1?.csv",
        f"{bucket}/exports/users.csv",
        f"{bucket}/exports/2024/b.csv",
    }
    with pytest.raises(NothingToLoad, match=r"^s3://lab/\*\.xlsx: there is no file there"):
        fetched(f"{bucket}/*.xlsx")


def test_what_an_object_store_refuses_is_a_problem(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = "it cannot be reached (FileNotFoundError: "
    assert problem(f"{bucket}/none.csv").startswith(f"{bucket}/none.csv: {missing}")
    assert missing in problem("s3://no-such-bucket/a.csv")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    sentence = problem(f"{bucket}/large.csv")
    assert "redentials" in sentence.partition(")")[0]
    assert "Credentials are AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in sentence


MISSING = {
    "s3fs": "s3://user:secret@lab/a.csv",
    "aiohttp": "https://lab.example/a.csv?secret",
    "paramiko": "sftp://user:secret@lab/a.csv",
    "gcsfs": "gs://lab/a.csv",
    "adlfs": "abfs://lab/a.csv",
    "fsspec": "s3://lab/a.csv",
}


def test_a_missing_package_names_the_extra() -> None:
    program = f"""if True:
        import sys
        from loader.errors import MissingExtra
        from loader.files import collect
        for module, address in {MISSING}.items():
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
    for sentence, extra in zip(sentences, ("s3", "https", "sftp", "gs", "az", "s3"), strict=True):
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
