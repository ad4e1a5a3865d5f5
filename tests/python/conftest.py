"""What tests share: a fresh database, and a copy of the project to do with as one likes."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.databases import Database, embedded_server, fresh_database
from support.engines import Engine, Postgres, fresh_engine
from support.load_processes import wait_for
from support.person import Person, person_in
from support.project import copy_of_project, loading_project

from loader.embedded import ServerPaths, server_paths, start, stop
from loader.spark_server import free_port

# The engines that a test which asks for `engine` runs on; see engines.py.
ENGINES = ("postgres", "duckdb")
# Tests on these share a server, and follow each other in one process.
LAKES = ("sail", "spark")
# So do the tests of a folder with this fixture: a laboratory costs a build, a service its start.
SHARED = {"page": "lab", "service": "service"}
# And those of any folder with this one: a server that speaks S3 costs seconds.
STORE = "s3"
# Groups that take so long that they begin first.
LONG = (*LAKES, *SHARED, "production", "sql", "types")


def pytest_configure() -> None:
    """Children start as they would from a shell of a person's own.

    What a shell starts in the background ignores signals, and so would its children. And of the
    children of a process that speaks gRPC, as a session of Spark does, one in forty dies at its
    start: github.com/grpc/grpc/issues/37710.
    """
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, usual)


# Before xdist looks at the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every mark `prove` says why; what shares something slow runs in the same process.

    The tests of a file run in one process, those of one engine apart from those of another, and
    those with a group of their own.
    """
    groups: dict[pytest.Item, str] = {}
    for item in items:
        file = item.path.relative_to(Path(__file__).parent).as_posix()
        engine = item.callspec.params.get("engine") if hasattr(item, "callspec") else None
        # The older PostgreSQL runs what is compiled for the newer one.
        group = engine if engine in LAKES else f"{file} {str(engine).removesuffix('-16')}"
        folder = file.partition("/")[0]
        if SHARED.get(folder) in getattr(item, "fixturenames", ()):
            group = folder
        if STORE in getattr(item, "fixturenames", ()):
            group = STORE
        if own := item.get_closest_marker("xdist_group"):
            group = own.args[0]
        else:
            item.add_marker(pytest.mark.xdist_group(group))
        groups[item] = group
        for mark in item.iter_markers("prove"):
            if not (mark.args and isinstance(mark.args[0], str) and mark.args[0].strip()):
                raise pytest.UsageError(f"{item.nodeid}: the mark `prove` needs a reason")
    # What takes longest begins first; the quick ones fill the gaps at the end.
    slow = {group for item, group in groups.items() if item.get_closest_marker("slow")}
    items.sort(key=lambda item: (groups[item] not in LONG, groups[item] not in slow))


@pytest.fixture(scope="session")
def server() -> Iterator[Database]:
    """The server that PGHOST names, else an embedded one for this session."""
    if os.environ.get("PGHOST"):
        yield Database(
            host=os.environ["PGHOST"],
            port=os.environ.get("PGPORT", "5432"),
            user=os.environ.get("PGUSER", "postgres"),
            name=os.environ.get("PGDATABASE", "postgres"),
            password=os.environ.get("PGPASSWORD", ""),
        )
        return
    with embedded_server() as started:
        yield started


@pytest.fixture(scope="session", autouse=True)
def no_server_is_left() -> Iterator[None]:
    """A Spark server that tests have shared ends with them."""
    yield
    if spark := sys.modules.get("support.spark"):
        spark.close_servers()


@pytest.fixture(scope="session")
def older_server() -> Iterator[Database]:
    """An embedded server of the other major version that the wheel brings."""
    with embedded_server(16) as started:
        yield started


@pytest.fixture
def database(server: Database) -> Iterator[Database]:
    """A fresh database, dropped afterwards."""
    with fresh_database(server) as made:
        yield made


@pytest.fixture
def project_copy(tmp_path: Path) -> Path:
    """A copy of the project as a fresh clone has it, with the example's profiles.yml."""
    return copy_of_project(tmp_path)


@pytest.fixture
def empty_place() -> Iterator[ServerPaths]:
    """A place for an embedded server in a short path; the server is stopped afterwards."""
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as folder:
        made = server_paths(Path(folder).resolve())
        yield made
        stop(made)


@pytest.fixture(scope="session")
def stopped_cluster() -> Iterator[ServerPaths]:
    """A cluster that was made and stopped, to copy: making one takes a second or two."""
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as folder:
        made = server_paths(Path(folder).resolve())
        start(made)
        stop(made)
        yield made


@pytest.fixture
def place(empty_place: ServerPaths, stopped_cluster: ServerPaths) -> ServerPaths:
    """The same with a cluster in it that does not run."""
    shutil.copytree(stopped_cluster.home, empty_place.home, symlinks=True)
    return empty_place


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that any account can pass through."""
    with tempfile.TemporaryDirectory(prefix="labmart-test-") as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the person who runs the tests changes what the code under test does."""
    for name in list(os.environ):
        if name.startswith(("LABMART_", "DBT_", "PG")) or name in ("COLUMNS", "SPARK_REMOTE"):
            monkeypatch.delenv(name)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A fresh, empty database of each engine in turn."""
    with fresh_engine(request.param, request, tmp_path) as made:
        yield made


@pytest.fixture(scope="module", params=ENGINES)
def shared_engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """The same for all tests of a module."""
    folder = tmp_path_factory.mktemp("engine")
    with fresh_engine(request.param, request, folder) as made:
        yield made


@pytest.fixture(scope="module")
def loading_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `labmart load` needs of the project."""
    return loading_project(tmp_path_factory.mktemp("command"))


@pytest.fixture(scope="module")
def shared_database(server: Database) -> Iterator[Database]:
    """A fresh database for all tests of a module."""
    with fresh_database(server) as made:
        yield made


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The address of a server that speaks S3, a process of its own."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:

        def listens() -> bool:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                return True
            return False

        wait_for(listens)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def s3_environment(s3: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """The environment leads to the S3 server, and to no other; its address."""
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing-secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return s3


@pytest.fixture
def person(
    loading_copy: Path, shared_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Person:
    """Somebody in an empty folder, with a schema of their own, on each engine in turn."""
    return person_in(tmp_path, loading_copy, shared_engine, monkeypatch)


@pytest.fixture
def postgres_person(
    loading_copy: Path, shared_database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Person:
    """The same on PostgreSQL alone."""
    return person_in(tmp_path, loading_copy, Postgres(shared_database), monkeypatch)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """A folder to watch."""
    made = tmp_path / "box"
    made.mkdir()
    return made
