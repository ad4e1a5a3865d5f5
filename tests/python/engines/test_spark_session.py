"""What keeps Spark from being used is told in words, before its JVM is started."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from support.load_processes import wait_for
from support.spark import need_java, spark_profile

from loader.engines import dbt_turn, open_engine, open_store
from loader.engines.spark_session import open_session
from loader.engines.spark_settings import metastore_of, settings_of
from loader.errors import ConfigError, DatabaseUnreachable, MissingJava
from loader.profile import Profile


def test_no_java_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    said = r"Spark needs Java 17 or later, and there is none on the PATH\. Install one"
    with pytest.raises(MissingJava, match=said), open_session(spark_profile(tmp_path)):
        pass


@pytest.mark.parametrize("version", ['java version "1.8.0_392"', 'openjdk version "11.0.2"', ""])
def test_another_java_is_told(
    version: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{version}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(MissingJava, match="is Java"), open_session(spark_profile(tmp_path)):
        pass


def test_a_dead_master_is_told_with_its_address(tmp_path: Path) -> None:
    need_java()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"spark://127.0.0.1:{free.getsockname()[1]}"
    profile = spark_profile(tmp_path, **{"spark.master": address})
    said = f"Spark at {address}: no master answers: Connection refused"
    with pytest.raises(DatabaseUnreachable, match=said), open_store(profile):
        pass


def test_another_process_in_the_metastore_is_named(tmp_path: Path) -> None:
    profile = spark_profile(tmp_path)
    metastore = metastore_of(settings_of(profile))
    assert metastore is not None
    metastore.mkdir(parents=True)
    lock = metastore / "dbex.lck"
    lock.touch()
    # As Derby does it, from Java.
    holding = "import fcntl, sys; f = open(sys.argv[1], 'r+'); fcntl.lockf(f, fcntl.LOCK_EX); "
    with subprocess.Popen(
        [sys.executable, "-c", f"{holding}print('held', flush=True); sys.stdin.read()", lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(DatabaseUnreachable, match=f"is open in process {holder.pid}, and"),
            dbt_turn(profile),
        ):
            pass
        holder.communicate()
    with dbt_turn(profile):
        pass


def test_builds_and_loads_take_turns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    profile = spark_profile(tmp_path)
    order: list[str] = []

    def second() -> None:
        with dbt_turn(profile):
            order.append("second")

    waiting = threading.Thread(target=second)
    with dbt_turn(profile):
        waiting.start()
        said = ""

        def has_said() -> bool:
            nonlocal said
            said += capsys.readouterr().err
            return "another load is at work; waiting …" in said

        wait_for(has_said)
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_a_metastore_service_serves_many(tmp_path: Path) -> None:
    uris = {"spark.hadoop.hive.metastore.uris": "thrift://head:9083"}
    profile = spark_profile(tmp_path, **uris)
    with dbt_turn(profile), dbt_turn(profile):
        assert metastore_of(settings_of(profile)) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"method": "thrift"}, "`method: thrift`; labmart itself reaches Spark by"),
        ({"schema": "my lab"}, "`schema` is 'my lab', and on Spark"),
        ({"server_side_parameters": ["x"]}, "`server_side_parameters` of target 'spark' is no"),
    ],
)
def test_a_profile_that_cannot_be_used_is_told(
    values: dict[str, object], said: str, tmp_path: Path
) -> None:
    found = spark_profile(tmp_path)
    profile = Profile(found.path, "spark", "spark", {**found.values, **values})
    with pytest.raises(ConfigError, match=said):
        open_engine(profile)
