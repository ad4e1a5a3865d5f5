"""From an upload to the marts: jobs, loads and builds of the real service, and its kills."""

from __future__ import annotations

import csv
import json
import random
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import httpx
import psutil
import pytest
from support.databases import Database
from support.in_process import program
from support.load_processes import held_in_copy, table_text, wait_for
from support.serving import NO_BUILD, Server, put, serving, spooled, users

from loader.cli.data import load

pytestmark = pytest.mark.slow

_FILES = 12
_KILLS = 4


@pytest.fixture
def client(service: Server) -> Iterator[httpx.Client]:
    with service.client() as opened:
        yield opened


def loaded(server: Server, answer: httpx.Response) -> list[dict[str, Any]]:
    """What became of the files of an upload, which are loaded."""
    assert answer.status_code == 202, answer.text
    done = server.ended(answer.json()["id"])
    assert done["state"] == "done", done
    files: list[dict[str, Any]] = done["result"]["files"]
    return files


# Uploads become loads.


@pytest.mark.parametrize("form", ["-T {} URL/", "-F file=@{} URL", "-F file=@{} URL/"])
def test_a_file_becomes_a_job_and_rows(service: Server, tmp_path: Path, form: str) -> None:
    """By curl as the README says."""
    name = "plate one.csv"
    (tmp_path / name).write_bytes(users(3000 + 3 * len(form)))
    how, what, where = form.replace("URL", f"{service.url}/v1/files").split()
    # The README's own call would build everything.
    done = program("curl", "-sS", how, what.format(name), f"{where}?build=false", cwd=tmp_path)
    job = service.ended(json.loads(done.out)["id"])
    assert job["files"][0]["name"] == name
    [file] = job["result"]["files"]
    assert (file["file"], file["input"], file["state"]) == (name, "users", "loaded")
    assert (file["records_read"], file["records_rejected"]) == (3, 0)
    assert service.rows(
        f"select file, status, loaded_by from labmart_raw.loads where load_id = {file['load_id']}"
    ) == [(name, "current", f"local (job {job['id']})")]
    wait_for(lambda: job["id"] not in spooled(service))


def test_every_option_of_reading_is_a_parameter(service: Server, client: httpx.Client) -> None:
    document = client.get("/v1/openapi.json").json()
    options = {
        option.opts[0].removeprefix("--").replace("-", "_")
        for option in load.params
        if isinstance(option, click.Option)
    } - {"check", "target"}
    for path, method in (("/v1/files", "post"), ("/v1/files/{name}", "put")):
        parameters = document["paths"][path][method]["parameters"]
        assert {parameter["name"] for parameter in parameters} >= options | {"build"}
    for wrong in ({"encodng": "utf-8"}, {"delimiter": "ab"}, {"max_rejected": "x"}):
        answer = client.put("/v1/files/x.csv", params=wrong, content=users(1))
        assert answer.status_code == 422
        assert next(iter(wrong)) in answer.json()["detail"].replace("-", "_")
    # A header of another delimiter, without quotes, in a code page of DOS.
    content = '75|Björn|b@x|2023-01-01\n76|"|c@x|2023-01-01\nonly one cell\n'.encode("cp850")
    columns = "user_id,name,email,signup_date"
    reading = {"encoding": "cp850", "delimiter": "pipe", "quote": "none", "columns": columns}
    asked = {**NO_BUILD, **reading, "max_rejected": "50%", "input": "users"}
    answer = client.put("/v1/files/dos.txt", params=asked, content=content)
    assert reading.items() <= answer.json()["options"].items()
    [file] = loaded(service, answer)
    assert "cp850" in file["dialect"]
    assert file["columns"] == columns.split(",")
    assert (file["records_read"], file["rejected_by_rule"]) == (3, {"wrong_column_count": 1})
    assert service.rows("select name from labmart_raw.users where user_id = '75'") == [("Björn",)]


def test_several_files_are_one_load_or_none(service: Server, client: httpx.Client) -> None:
    """Whatever they are called."""
    odd = ["$(touch x).csv", "'; drop table users; --.csv", "-rf.csv", "<img src=x>.csv", "ä😀"]
    names = ["good.csv", "b.csv", *odd]
    files = [("f", (name, users(100 + 10 * n))) for n, name in enumerate(names)]
    bad = ("file", ("bad.csv", b"what,is,this\n1,2,3\n"))
    job = client.post("/v1/files", params=NO_BUILD, files=[*files[:2], bad]).json()
    refused = service.ended(job["id"])
    assert refused["state"] == "failed"
    assert refused["error"]["type"] == "urn:labmart:problem:files-refused"
    assert "bad.csv" in refused["error"]["detail"]
    states = {file["file"]: file["state"] for file in refused["result"]["files"]}
    assert states == {"b.csv": "refused", "good.csv": "refused"}
    assert service.rows("select 1 from labmart_raw.users where user_id = '100'") == []
    results = loaded(service, client.post("/v1/files", params=NO_BUILD, files=files))
    assert {file["file"] for file in results} == set(names)
    assert service.rows("select 1 from labmart_raw.users where user_id = '100'") == [(1,)]
    # In the order of their names, whatever that of the parts is.
    in_order = [file["file"] for file in results if file["file"] in names[:2]]
    assert in_order == ["b.csv", "good.csv"]


def test_what_was_refused_is_loaded_again_as_is_said_then(
    service: Server, client: httpx.Client
) -> None:
    content = "number;name;mail;joined\n8800;Zoë;;31.12.2023\n".encode("cp1252")
    job = put(service, "other names.csv", content).json()
    error = service.ended(job["id"])["error"]
    assert error["title"] == "The file was refused"
    [header] = error["headers"]
    assert (header["file"], header["cells"][0]) == ("other names.csv", "number")
    assert {proposal["input"] for proposal in header["proposals"]} >= {"users", "compounds"}
    names = ["number=user_id", "mail=email", "joined=signup_date"]
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
    assert again.headers["location"] == again.json()["links"]["self"]
    assert again.json()["files"] == job["files"]
    loaded(service, again)
    assert client.post(retry).status_code == 410
    assert client.post(again.json()["links"]["retry"]).status_code == 409
    assert service.rows(
        "select name, signup_date from labmart_raw.users where user_id = '8800'"
    ) == [("Zoë", "31.12.2023")]


def test_what_comes_back_after_something_else_is_the_newest(service: Server) -> None:
    def upload(name: str) -> dict[str, Any]:
        content = f"user_id,name,email,signup_date\n4000,{name},,\n".encode()
        [file] = loaded(service, put(service, "back.csv", content))
        return file

    files = [upload(name) for name in ("Monday", "Tuesday", "Monday", "Monday")]
    assert [file["state"] for file in files] == ["loaded"] * 3 + ["known"]
    first, _, third, _ = (file["load_id"] for file in files)
    assert third > first
    assert files[2]["notes"] == [
        f"the same as load {first}, whose place it takes: it has come again"
    ]


def test_files_that_came_together_are_undone_together(
    service: Server, client: httpx.Client
) -> None:
    """Which is refused a second time; what was undone is loaded again."""

    def ended(path: str, **parameters: str) -> dict[str, Any]:
        job = client.post(path, params={**NO_BUILD, **parameters}).json()
        return service.ended(job["id"])

    def changed(path: str, **parameters: str) -> dict[str, str]:
        loads: dict[str, str] = ended(path, **parameters)["result"]["loads"]
        return loads

    files = [("file", (name, users(number))) for name, number in (("a.csv", 71), ("b.csv", 72))]
    both = loaded(service, client.post("/v1/files", files=files, params=NO_BUILD))
    one, other = (str(file["load_id"]) for file in both)
    # One of them may have been undone alone.
    assert changed(f"/v1/loads/{one}/undo") == {one: "reverted"}
    assert changed(f"/v1/loads/{one}/undo", together="true") == {other: "reverted"}
    redone = changed(f"/v1/loads/{other}/redo", together="true")
    assert redone == {one: "current", other: "current"}
    assert changed(f"/v1/loads/{one}/undo") == {one: "reverted"}
    error = ended(f"/v1/loads/{one}/undo")["error"]
    assert (error["status"], "undone already" in error["detail"]) == (409, True)
    [second] = loaded(service, put(service, "a.csv", users(71)))
    assert (second["state"], second["load_id"] > int(other)) == ("loaded", True)


def test_many_uploads_at_once_are_all_loaded_once(service: Server) -> None:
    def upload(number: int) -> str:
        answer = put(service, f"h{number % 10}.csv", users(1000 + 10 * number, 2))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["id"])

    with ThreadPoolExecutor(24) as pool:
        ids = list(pool.map(upload, range(24)))
    assert len(set(ids)) == 24
    for job_id in ids:
        assert service.ended(job_id, 120)["state"] == "done"
    assert service.rows(
        "select count(*), count(distinct user_id) from labmart_raw.users where user_id ~ '^1...$'"
    ) == [(48, 48)]
    order = service.rows(
        "select array_agg(loads.load_id order by jobs.number, loads.load_id) "
        "= array_agg(loads.load_id order by loads.load_id) from labmart_raw.loads as loads "
        "join labmart_service.jobs on loads.loaded_by = format('local (job %s)', jobs.id)"
    )
    assert order == [(True,)], "in the order in which they were accepted"


def test_an_upload_takes_constant_memory(service: Server, client: httpx.Client) -> None:
    def peak() -> int:
        [kilobytes] = re.findall(r"VmHWM:\s+(\d+)", Path(f"/proc/{service.pid}/status").read_text())
        return int(kilobytes)

    before = peak()
    # Which the worker refuses at its first look.
    content = (b"%PDF-" * 200_000 for _ in range(100))
    answer = client.put("/v1/files/large.csv", params=NO_BUILD, content=content)
    assert answer.status_code == 202
    assert peak() - before < 50_000, "kB"


# Builds.


def test_a_build_can_be_cancelled(service: Server, client: httpx.Client) -> None:
    job = client.post("/v1/builds").json()
    wait_for(lambda: client.get(job["links"]["self"]).json()["state"] == "running")
    assert client.post(job["links"]["cancel"]).status_code == 202
    assert service.ended(job["id"])["state"] == "cancelled"
    # What is ready for an increment has arguments of its own before the `--`.
    assert not _below(service, "dbt_process.py -- build")
    listed = client.get("/v1/jobs", params={"limit": 1}).json()
    assert listed["items"][0]["id"] == job["id"]


def test_from_uploads_to_a_mart_with_one_build(
    service: Server, client: httpx.Client, sample: list[dict[str, Any]]
) -> None:
    assert [job["state"] for job in sample] == ["done"] * 3, sample
    assert all(job["progress"]["nodes_done"] > 0 for job in sample)
    assert all(job["progress"]["nodes_total"] > 100 for job in sample)
    # All three were loaded before the one build that served them.
    builds = [job["result"]["build"] for job in sample]
    assert builds[0] == builds[1] == builds[2]
    assert builds[0]["failed"] == 0
    assert builds[0]["passed"] > 100
    # Who has a token is told to have published it.
    by = "select count(*) from labmart.publications where published_by = 'press'"
    assert service.rows(by) == [(1,)]
    [file] = sample[1]["result"]["files"]
    assert (file["records_read"] - file["rows_accepted"], file["rows_rejected"]) == (1, 1)
    issues = [(issue["rule"], issue["severity"], issue["open_issues"]) for issue in file["issues"]]
    assert issues == [
        ("invalid_id", "error", 1),
        ("invalid_run_time", "warning", 2),
    ]
    # The example of the README.
    rows = client.get(
        "/v1/marts/user_features?total_exp_per_user=gte.3&order=-total_exp_per_user",
        headers={"Accept": "text/csv"},
    )
    counts = [row["total_exp_per_user"] for row in csv.DictReader(rows.text.splitlines())]
    assert counts == sorted(counts, key=int, reverse=True)
    assert min(map(int, counts)) == 3
    tagged = {"Accept": "text/csv", "If-None-Match": rows.headers["etag"]}
    assert client.get(rows.url, headers=tagged).status_code == 304
    docs = client.get("/dbt/", timeout=300)
    assert docs.status_code == 200, docs.text
    assert "user_features" in docs.text
    assert "connect-src 'self'" in docs.headers["content-security-policy"]


@pytest.mark.prove("two more builds; test_dbt_runner has a standby of its own")
@pytest.mark.usefixtures("sample")
def test_an_increment_is_built_where_dbt_is_ready(service: Server, client: httpx.Client) -> None:
    header = "experiment_id,user_id,experiment_compound_ids,experiment_run_time"
    for number in range(2):
        rows = f"{header}\n{10**9 + number},1,1;2,7\n"
        job = client.put(f"/v1/files/{number}.csv", content=rows).json()
        assert service.ended(job["id"], 300)["state"] == "done"
    newest = "select based_on is not null from labmart.publications where status = 'current'"
    assert service.rows(newest) == [(True,)]
    artifacts = service.project / "target" / "labmart__next.increment"
    assert (artifacts / "run_results.json").exists()
    assert not (artifacts / "partial_parse.msgpack").exists(), "this one was parsed here"


# Whatever is killed, and when: an accepted upload is loaded once, a cancelled one never.


def test_a_job_whose_process_is_killed_in_the_middle_is_done_all_the_same(
    service: Server, client: httpx.Client
) -> None:
    with held_in_copy(service.database, "users") as wait_until_held:
        job = put(service, "k.csv", users(600)).json()
        wait_until_held()
        # Until it is known to be gone, the truth is that it runs.
        assert client.get(job["links"]["self"]).json()["state"] == "running"
        _runner(service).kill()
    assert service.ended(job["id"])["state"] == "done"
    assert service.rows("select count(*) from labmart_raw.users where user_id = '600'") == [(1,)]


def test_what_was_committed_before_a_kill_is_not_loaded_again(
    service: Server, client: httpx.Client
) -> None:
    """The load is there, and nobody has noted it: as after a kill between the two."""
    answer = put(service, "committed.csv", users(700))
    [file] = loaded(service, answer)
    # Somebody has undone it meanwhile: it stays undone.
    undo = client.post(f"/v1/loads/{file['load_id']}/undo", params=NO_BUILD).json()
    service.ended(undo["id"])
    service.rows(
        f"update labmart_service.jobs set state = 'running', finished_at = null, result = null "
        f"where id = '{answer.json()['id']}'"
    )
    [again] = loaded(service, answer)
    assert again["load_id"] == file["load_id"]
    assert service.rows("select status from labmart_raw.loads where file = 'committed.csv'") == [
        ("reverted",)
    ]


def test_what_is_cancelled_is_never_loaded(service: Server, client: httpx.Client) -> None:
    """Neither what is loading, nor what waits."""
    with held_in_copy(service.database, "users") as wait_until_held:
        loading = put(service, "a.csv", users(800)).json()
        wait_until_held()
        waiting = put(service, "b.csv", users(810)).json()
        cancelled = client.post(waiting["links"]["cancel"])
        assert cancelled.json()["state"] == "cancelled"
        assert client.post(waiting["links"]["cancel"]).status_code == 409
        runner = _runner(service)
        assert client.post(loading["links"]["cancel"]).status_code == 202
        # It is held still: nothing but the wish can end it.
        assert service.ended(loading["id"])["state"] == "cancelled"
    wait_for(lambda: not runner.is_running())
    # The next one is done by another process.
    loaded(service, put(service, "d.csv", users(830)))
    assert service.rows("select 1 from labmart_raw.users where user_id in ('800', '810')") == []


def test_a_worker_that_loses_its_lock_begins_anew(service: Server) -> None:
    def started() -> int:
        return "".join(service.said).count("labmart worker started")

    workers = started()
    with held_in_copy(service.database, "users") as wait_until_held:
        answer = put(service, "m.csv", users(850))
        wait_until_held()
        # Not the connection that loads: nothing but the lock is lost.
        ended = service.rows(
            "select pg_terminate_backend(pid) from pg_locks where locktype = 'advisory' "
            "and granted and (classid::bigint << 32 | objid::bigint) = "
            "hashtextextended('labmart work labmart_service', 0)"
        )
        assert ended == [(True,)]
    loaded(service, answer)
    assert service.rows("select count(*) from labmart_raw.users where user_id = '850'") == [(1,)]
    wait_for(lambda: started() > workers)


def test_a_second_worker_waits_for_the_first_to_end(service: Server, client: httpx.Client) -> None:
    wait_for(lambda: client.get("/health/ready").json()["worker"] == "up")
    with serving(service.project, service.database, command="worker") as second:
        wait_for(lambda: "another worker is at work" in "".join(second.said))
        _runner(service).kill()
        # The lock is free at once; the service starts its own worker anew a little later.
        wait_for(lambda: "labmart worker started" in "".join(second.said))
        loaded(service, put(service, "n.csv", users(860)))


@pytest.mark.prove("kills at random moments; above the chosen moments are tried always")
def test_kills_at_any_moment_lose_nothing_and_double_nothing(
    project_copy: Path, shared_database: Database
) -> None:
    random.seed(5)
    jobs: dict[int, str] = {}

    def upload(server: Server, number: int) -> None:
        """Upload a file, unless nobody answers."""
        content = table_text("users", [5000 + number], padding=200_000).encode()
        with suppress(httpx.HTTPError):
            # Without a key it would be another arrival of the same, and loaded once more.
            answer = put(server, f"k{number}.csv", content, **{"Idempotency-Key": f"k{number}"})
            if answer.status_code in (200, 202):
                jobs[number] = str(answer.json()["id"])

    for _ in range(_KILLS):
        with serving(project_copy, shared_database) as server:
            for number in [n for n in range(_FILES) if n not in jobs][: _FILES // _KILLS + 1]:
                upload(server, number)
            time.sleep(random.uniform(0, 1.5))
            # The server, its worker, or the process that loads, in turn.
            victim = random.choice([psutil.Process(server.pid), *_below(server)])
            with suppress(psutil.NoSuchProcess):
                victim.kill()
    with serving(project_copy, shared_database) as server:
        for number in range(_FILES):
            if number not in jobs:
                upload(server, number)
        for job in jobs.values():
            assert server.ended(job, 90)["state"] == "done"
        wait_for(lambda: spooled(server) == [])
    users_loaded = shared_database.rows(
        "select count(*), count(distinct user_id) from labmart_raw.users where user_id ~ '^50..$'",
    )
    assert users_loaded == [(_FILES, _FILES)]
    counted = shared_database.rows(
        "select count(*) from labmart_raw.loads where file ~ '^k' and status = 'current'",
    )
    assert counted == [(_FILES,)]


def _below(server: Server, command: str = "") -> list[psutil.Process]:
    """The processes that a server has started, and theirs, which have these words in their call."""
    processes = []
    for process in psutil.Process(server.pid).children(recursive=True):
        with suppress(psutil.Error):
            if command in " ".join(process.cmdline()):
                processes.append(process)
    return processes


def _runner(server: Server) -> psutil.Process:
    """The process that does the work."""
    [runner] = _below(server, "--with-parent")
    return runner
