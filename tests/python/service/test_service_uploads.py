"""Uploads: what is accepted becomes one job and is loaded once; what is not leaves nothing."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, cast

import click
import httpx
import pytest
from support.databases import Database
from support.load_processes import wait_for
from support.serving import NO_BUILD, Server, put, serving, users

from loader.cli.loading import load

pytestmark = pytest.mark.slow


def spooled(server: Server) -> list[str]:
    """What is in the spool."""
    folder = server.project / ".labmart" / "uploads"
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def raw_request(server: Server, head: str, *, body: bytes = b"") -> socket.socket:
    """A connection on which a request was begun, byte by byte as it stands."""
    url = httpx.URL(server.url)
    connection = socket.create_connection((url.host, url.port or 80), timeout=30)
    text = head.replace("\n", "\r\n").replace("HOST", f"{url.host}:{url.port}")
    connection.sendall(text.encode() + body)
    return connection


def answer_of(connection: socket.socket) -> str:
    """All that the server says until it closes."""
    said = b""
    while portion := connection.recv(65536):
        said += portion
    connection.close()
    return said.decode()


def test_a_file_becomes_a_job_and_rows(service: Server) -> None:
    answer = put(service, "plate one.csv", users(1))
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert job["files"][0]["name"] == "plate one.csv"
    done = service.ended(job["id"])
    assert done["state"] == "done"
    result = done["result"]
    assert isinstance(result, dict)
    file = result["files"][0]
    assert (file["file"], file["input"], file["state"]) == ("plate one.csv", "users", "loaded")
    assert (file["records_read"], file["records_rejected"]) == (3, 0)
    [row] = service.rows(
        f"select file, status, loaded_by from labmart_raw.loads where load_id = {file['load_id']}"
    )
    assert row == ("plate one.csv", "current", f"local (job {job['id']})")
    wait_for(lambda: job["id"] not in spooled(service))


@pytest.mark.parametrize("form", ["-T {} URL/", "-F file=@{} URL", "-F file=@{} URL/"])
def test_curl_uploads_as_the_readme_says(service: Server, tmp_path: Path, form: str) -> None:
    (tmp_path / "curl.csv").write_bytes(users(3000 + 3 * len(form)))
    how, what, where = form.format("curl.csv").split()
    # The README's own call would build everything.
    address = where.replace("URL", f"{service.url}/v1/files") + "?build=false"
    done = subprocess.run(
        ["curl", "-sS", how, what, address],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    job = json.loads(done.stdout)
    assert job["files"][0]["name"] == "curl.csv"
    assert service.ended(job["id"])["state"] == "done"


def test_every_option_of_reading_is_a_parameter(service: Server) -> None:
    with service.client() as client:
        document = client.get("/v1/openapi.json").json()
        options = {
            option.opts[0].removeprefix("--").replace("-", "_")
            for option in load.params
            if isinstance(option, click.Option)
        } - {"check", "target"}
        for path, method in (("/v1/files", "post"), ("/v1/files/{name}", "put")):
            parameters = document["paths"][path][method]["parameters"]
            assert {one["name"] for one in parameters} >= options | {"build"}
        for wrong in ({"encodng": "utf-8"}, {"delimiter": "ab"}, {"max_rejected": "x"}):
            answer = client.put("/v1/files/x.csv", params=wrong, content=users(1))
            assert answer.status_code == 422, wrong
            assert next(iter(wrong)).replace("_", "-") in answer.json()["detail"].replace("_", "-")
        # A header of another delimiter, without quotes, in a code page of DOS.
        content = '75|Björn|b@x|2023-01-01\n76|"|c@x|2023-01-01\nonly one cell\n'.encode("cp850")
        columns = "user_id,name,email,signup_date"
        reading = {"encoding": "cp850", "delimiter": "pipe", "quote": "none", "columns": columns}
        asked = {**NO_BUILD, **reading, "max_rejected": "50%", "input": "users"}
        job = client.put("/v1/files/dos.txt", params=asked, content=content).json()
    assert reading.items() <= job["options"].items()
    done = service.ended(job["id"])
    assert done["state"] == "done", done
    result = done["result"]
    assert isinstance(result, dict)
    [file] = result["files"]
    assert "cp850" in file["dialect"]
    assert file["columns"] == columns.split(",")
    assert (file["records_read"], file["rejected_by_rule"]) == (3, {"wrong_column_count": 1})
    assert service.rows("select name from labmart_raw.users where user_id = '75'") == [("Björn",)]


def test_several_files_are_one_load_or_none(service: Server) -> None:
    good = ("file", ("good.csv", users(30)))
    bad = ("file", ("bad.csv", b"what,is,this\n1,2,3\n"))
    with service.client() as client:
        job = client.post("/v1/files", params=NO_BUILD, files=[good, bad]).json()
        refused = service.ended(job["id"])
        files = [good, ("f", ("b.csv", users(40)))]
        job = client.post("/v1/files", params=NO_BUILD, files=files).json()
        loaded = service.ended(job["id"])
    assert refused["state"] == "failed"
    error = refused["error"]
    assert isinstance(error, dict)
    assert error["type"] == "urn:labmart:problem:files-refused"
    assert "bad.csv" in error["detail"]
    result = refused["result"]
    assert isinstance(result, dict)
    assert {file["file"]: file["state"] for file in result["files"]} == {"bad.csv": "refused"} | (
        {"good.csv": "refused"}
    )
    assert service.rows("select 1 from labmart_raw.users where user_id = '30'") == [(1,)]
    assert loaded["state"] == "done"
    # In the order of their names, whatever that of the parts is.
    loads = service.rows(
        "select file, load_id - call_id from labmart_raw.loads "
        "where file in ('good.csv', 'b.csv') order by load_id"
    )
    assert loads == [("b.csv", 0), ("good.csv", 1)]


def test_what_was_refused_is_loaded_again_as_is_said_then(service: Server) -> None:
    content = "number;name;mail;joined\n8800;Zoë;;31.12.2023\n".encode("cp1252")
    job = put(service, "other names.csv", content).json()
    refused = service.ended(job["id"])
    error = refused["error"]
    assert isinstance(error, dict)
    assert error["title"] == "The file was refused"
    [header] = error["headers"]
    assert (header["file"], header["cells"][0]) == ("other names.csv", "number")
    assert {proposal["input"] for proposal in header["proposals"]} >= {"users", "compounds"}
    names = ["number=user_id", "mail=email", "joined=signup_date"]
    with service.client() as client:
        retry = job["links"]["retry"]
        for wrong, said in (
            ({"encoding": "klingon"}, "'klingon' is no text encoding"),
            ({"map": "number=id"}, "there is no column 'id', but user_id"),
            ({"sheet": ""}, "at least 1 character"),
        ):
            answer = client.post(retry, params=wrong)
            assert (answer.status_code, said in answer.json()["detail"]) == (422, True)
        asked = {**NO_BUILD, "map": names, "dates": "DMY", "encoding": "cp1252"}
        again = client.post(retry, params=asked)
        assert (again.status_code, again.headers["location"]) == (
            202,
            again.json()["links"]["self"],
        )
        done = service.ended(again.json()["id"])
        assert done["state"] == "done", done
        assert again.json()["files"] == job["files"]
        assert client.post(retry).status_code == 410
        assert client.post(again.json()["links"]["retry"]).status_code == 409
    assert service.rows(
        "select name, signup_date from labmart_raw.users where user_id = '8800'"
    ) == [("Zoë", "31.12.2023")]


def test_the_same_again_is_the_same_job_until_that_has_ended(
    strict: Server, service: Server
) -> None:
    first = put(strict, "once.csv", users(50))
    twice = put(strict, "another name.csv", users(50))
    other = put(strict, "once.csv", users(51))
    assert [answer.status_code for answer in (first, twice, other)] == [202, 200, 202]
    assert first.json()["id"] == twice.json()["id"] != other.json()["id"]
    # What is loaded already the ledger knows.
    results = []
    for name in ("once.csv", "another name.csv"):
        answer = put(service, name, users(54))
        assert answer.status_code == 202
        result = service.ended(answer.json()["id"])["result"]
        assert isinstance(result, dict)
        results += result["files"]
    assert [file["state"] for file in results] == ["loaded", "known"]


def test_what_comes_back_after_something_else_is_the_newest(service: Server) -> None:
    def loaded(name: str) -> int:
        content = f"user_id,name,email,signup_date\n4000,{name},,\n".encode()
        answer = put(service, "back.csv", content)
        assert answer.status_code == 202
        result = service.ended(answer.json()["id"])["result"]
        assert isinstance(result, dict)
        [file] = result["files"]
        assert file["state"] == "loaded"
        notes.extend(file["notes"])
        return int(file["load_id"])

    notes: list[str] = []
    loads = [loaded(name) for name in ("Monday", "Tuesday", "Monday")]
    assert loads == sorted(set(loads))
    assert notes == [f"the same as load {loads[0]}, whose place it takes: it has come again"]


def test_what_was_undone_is_loaded_again(service: Server) -> None:
    first = put(service, "undone.csv", users(60)).json()["id"]
    result = service.ended(first)["result"]
    assert isinstance(result, dict)
    load_id = result["files"][0]["load_id"]
    with service.client() as client:
        undo = client.post(f"/v1/loads/{load_id}/undo", params=NO_BUILD).json()
        assert service.ended(undo["id"])["state"] == "done"
        again = client.post(f"/v1/loads/{load_id}/undo", params=NO_BUILD).json()
        failed = service.ended(again["id"])
        assert isinstance(failed["error"], dict)
        assert failed["error"]["status"] == 409
        assert "undone already" in failed["error"]["detail"]
    second = put(service, "undone.csv", users(60))
    assert second.status_code == 202
    assert service.ended(second.json()["id"])["state"] == "done"
    found = (
        f"select status from labmart_raw.loads where file = 'undone.csv' and load_id > {load_id}"
    )
    assert service.rows(found) == [("current",)]


def test_files_that_came_together_are_undone_together(service: Server) -> None:
    files = [("file", (name, users(number))) for name, number in (("a.csv", 71), ("b.csv", 72))]
    with service.client() as client:

        def result_of(path: str, **parameters: str) -> dict[str, Any]:
            job = client.post(path, params={**NO_BUILD, **parameters}).json()
            return cast("dict[str, Any]", service.ended(job["id"])["result"])

        job = client.post("/v1/files", files=files, params=NO_BUILD).json()
        loaded = cast("dict[str, Any]", service.ended(job["id"])["result"])["files"]
        one, other = (str(file["load_id"]) for file in loaded)
        # One of them may have been undone alone.
        assert result_of(f"/v1/loads/{one}/undo")["loads"] == {one: "reverted"}
        undone = result_of(f"/v1/loads/{one}/undo", together="true")["loads"]
        assert undone == {other: "reverted"}
        redone = result_of(f"/v1/loads/{other}/redo", together="true")["loads"]
        assert redone == {one: "current", other: "current"}


def test_an_idempotency_key_stands_for_one_content(service: Server) -> None:
    key = {"Idempotency-Key": "plate-7"}
    first = put(service, "key.csv", users(70), **key)
    again = put(service, "key.csv", users(70), **key)
    other = put(service, "key.csv", users(71), **key)
    assert again.json()["id"] == first.json()["id"]
    assert (first.status_code, again.status_code, other.status_code) == (202, 200, 422)
    assert other.json()["type"] == "urn:labmart:problem:idempotency-key-reused"


def test_a_hundred_uploads_at_once_are_all_loaded_once(service: Server) -> None:
    def one(number: int) -> str:
        answer = put(service, f"h{number % 10}.csv", users(1000 + 10 * number, 2))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(100) as pool:
        ids = list(pool.map(one, range(100)))
    assert len(set(ids)) == 100
    for job_id in ids:
        assert service.ended(job_id, 120)["state"] == "done"
    found = service.rows(
        "select count(*), count(distinct user_id) from labmart_raw.users "
        "where user_id ~ '^[12]...$'"
    )
    assert found == [(200, 200)]
    order = service.rows(
        "select array_agg(loads.load_id order by jobs.number, loads.load_id) "
        "= array_agg(loads.load_id order by loads.load_id) from labmart_raw.loads as loads "
        "join labmart_service.jobs on loads.loaded_by = format('local (job %s)', jobs.id)"
    )
    assert order == [(True,)], "in the order in which they were accepted"


@pytest.mark.parametrize(
    "name",
    ["..%2Fx.csv", "..%5Cx.csv", "a%0Ab.csv", "a%0D%0ASet-Cookie:%20x", "%20", "x" * 256, "%1b[2J"],
)
def test_a_name_that_is_none_is_refused(service: Server, name: str) -> None:
    before = spooled(service)
    answer = put(service, name, users(80))
    assert answer.status_code in (404, 422), answer.text
    assert "set-cookie" not in answer.headers
    assert spooled(service) == before


def test_odd_names_are_data(service: Server, tmp_path: Path) -> None:
    names = ["$(touch x).csv", "'; drop table users; --.csv", "-rf.csv", "<img src=x>.csv", "ä😀"]
    files = [("f", (name, users(100 + 10 * n))) for n, name in enumerate(names)]
    with service.client() as client:
        job = client.post("/v1/files", params=NO_BUILD, files=files).json()
    done = service.ended(job["id"])
    assert done["state"] == "done", done
    result = done["result"]
    assert isinstance(result, dict)
    assert {file["file"] for file in result["files"]} == set(names)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Range": "bytes 0-1/9"}, 400),
        ({"Content-Length": "99999999999999"}, 413),
        ({"Idempotency-Key": "two words"}, 422),
    ],
)
def test_what_cannot_be_taken_is_refused_before_the_body(
    service: Server, headers: dict[str, str], status: int
) -> None:
    lines = "".join(
        f"{name}: {value}\n" for name, value in ({"Content-Length": "9"} | headers).items()
    )
    # Not one byte of the body is sent, and the answer comes all the same.
    head = f"PUT /v1/files/x.csv HTTP/1.1\nHost: HOST\nConnection: close\n{lines}\n"
    said = answer_of(raw_request(service, head))
    assert said.startswith(f"HTTP/1.1 {status} "), said


@pytest.mark.parametrize(
    "body",
    [
        b"no multipart at all",
        b"--b\r\nContent-Disposition: form-data; name=f; filename=x.csv\r\n\r\nuser_id",
        b"--b\r\nContent-Disposition: form-data; name=f; filename=../x\r\n\r\na\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; name="replace"\r\n\r\ntrue\r\n--b--\r\n',
        b"--b\r\nX: y\r\n\r\na\r\n--b--\r\n",
        b"--b\r\n" + b"X: y\r\n" * 100 + b"\r\na\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=f; filename=\xff\r\n\r\na\r\n--b--\r\n",
        b"--b--\r\n",
    ],
)
def test_a_body_that_is_no_upload_leaves_nothing(service: Server, body: bytes) -> None:
    before = spooled(service)
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    with service.client() as client:
        answer = client.post("/v1/files", content=body, headers=kind)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert spooled(service) == before


def test_a_bomb_is_refused_by_the_job_and_hurts_nobody(service: Server) -> None:
    bomb = gzip.compress(users(1)[:33] + b"\n1," + b"a" * 200_000_000)
    answer = put(service, "bomb.csv.gz", bomb)
    assert answer.status_code == 202
    assert service.ended(answer.json()["id"])["state"] == "failed"


@pytest.fixture
def strict(served_project: Path, shared_database: Database) -> Iterator[Server]:
    """A server with small limits, without a worker."""
    limits = {
        "LABMART_MAX_UPLOAD": "100000",
        "LABMART_IDLE_TIMEOUT": "1",
        "LABMART_MAX_UPLOADS": "3",
    }
    with serving(served_project, shared_database, "--no-worker", environment=limits) as server:
        yield server


def test_limits_hold(strict: Server) -> None:
    before = spooled(strict)
    jobs = strict.rows("select count(*) from labmart_service.jobs")
    with strict.client() as client:
        length = client.put("/v1/files/x.csv", content=b"x" * 100_001)
        chunked = client.put("/v1/files/x.csv", content=(b"x" * 1000 for _ in range(101)))
    assert (length.status_code, chunked.status_code) == (413, 413)
    # One that stops in the middle, and one that goes away.
    head = "PUT /v1/files/slow.csv HTTP/1.1\nHost: HOST\nContent-Length: 90000\n\n"
    slow = raw_request(strict, head, body=b"user_id")
    raw_request(strict, head, body=b"user_id").close()
    assert answer_of(slow).startswith("HTTP/1.1 408 ")
    wait_for(lambda: spooled(strict) == before)
    assert strict.rows("select count(*) from labmart_service.jobs") == jobs
    # As many as there may be, held open; the next one is told to come again.
    held = [raw_request(strict, head, body=b"u") for _ in range(3)]
    wait_for(lambda: len(spooled(strict)) == len(before) + 3)
    with strict.client() as client:
        busy = client.put("/v1/files/x.csv", content=b"x")
        # Who only asks is not kept waiting by them.
        assert client.get("/health/ready").json()["worker"] in ("up", "down")
    assert (busy.status_code, "retry-after" in busy.headers) == (429, True)
    for connection in held:
        connection.close()
    wait_for(lambda: spooled(strict) == before)


def test_an_upload_takes_constant_memory(service: Server) -> None:
    def peak() -> int:
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        return int(
            next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]
        )

    before = peak()
    with service.client() as client:
        answer = client.put(
            "/v1/files/large.csv", params=NO_BUILD, content=(b"\0" * 1_000_000 for _ in range(200))
        )
    assert answer.status_code == 202
    assert peak() - before < 50_000, "kB"
