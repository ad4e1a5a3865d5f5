"""Which engine computes in the lake, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from loader import spark_server
from loader.errors import DatabaseUnreachable, MissingExtra, MissingJava, UsageError
from loader.project import Profile


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed; tests take away from it."""
    names = {"pysail", "pyspark", "java"}
    monkeypatch.setattr(spark_server, "find_spec", lambda name: name if name in names else None)

    def missing() -> MissingExtra | MissingJava | None:
        if "pyspark" not in names:
            return MissingExtra("The target spark", "spark")
        return None if "java" in names else MissingJava("there is none on the PATH", 17)

    monkeypatch.setattr(spark_server, "_missing_of_spark", missing)
    return names


@pytest.mark.parametrize(
    ("named", "without", "taken"),
    [
        ("", "", "local"),
        ("", "java", "sail"),
        ("", "pyspark", "sail"),
        ("", "pysail", "local"),
        ("sail", "", "sail"),
        ("local", "", "local"),
        ("", "pysail java", (MissingJava, "JAVA_HOME")),
        ("local", "java", (MissingJava, "openjdk-17")),
        ("sail", "pysail", (MissingExtra, "'sail'")),
        ("spark", "", (UsageError, "can be `sail` or `local`")),
    ],
)
def test_sail_is_taken_where_it_is_asked_for_or_java_is_not_there(
    installed: set[str],
    monkeypatch: pytest.MonkeyPatch,
    named: str,
    without: str,
    taken: str | tuple[type[Exception], str],
) -> None:
    installed -= {*without.split()}
    monkeypatch.setenv("LABMART_SPARK", named)
    if isinstance(taken, str):
        assert spark_server.kind() == taken
        return
    error, says = taken
    with pytest.raises(error, match=says):
        spark_server.kind()


@pytest.mark.slow
def test_a_server_is_private_stays_and_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABMART_SPARK", "sail")
    monkeypatch.setenv("LABMART_SPARK_MEMORY", "512m")
    profile = Profile(tmp_path / "profiles.yml", "spark", "spark", {"schema": "labmart"})
    assert spark_server.running(profile) is None
    server, is_new = spark_server.start(profile)
    try:
        assert (is_new, server.kind) == (True, "sail")
        assert spark_server.start(profile) == (server, False)
        home = tmp_path / ".labmart" / "spark"
        assert {path.stat().st_mode & 0o77 for path in (home, home / "server.json")} == {0}
        with spark_server.session(profile):
            assert spark_server.running(profile) == server
    finally:
        assert spark_server.stop(profile)
    assert (spark_server.running(profile), spark_server.stop(profile)) == (None, False)


@pytest.mark.slow
def test_a_server_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABMART_SPARK", "sail")
    monkeypatch.setattr(spark_server, "_SAIL", "raise OSError('no room')")
    profile = Profile(tmp_path / "profiles.yml", "spark", "spark", {"schema": "labmart"})
    with pytest.raises(DatabaseUnreachable, match="no room"):
        spark_server.start(profile)
