"""The connection out of profiles.yml: the same as dbt's, and clear when it cannot be read."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from dbt.cli.main import dbtRunner
from support.project import ROOT

from loader.database import find_database
from loader.errors import ConfigError, UsageError
from loader.project import Profile, load_profile, open_project

KEYS = ("host", "port", "user", "dbname", "schema", "sslmode", "connect_timeout")
DBT_NAMES = {"dbname": "database"}
TARGET = "labmart:\n  target: postgres\n  outputs:\n    postgres:\n      type: postgres\n      "


def make_project(root: Path, entries: str | None = None) -> Path:
    """A project; if there are entries, its profiles.yml has one target with them."""
    root.mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: tiny\nprofile: labmart\nversion: 1.0.0\n")
    shutil.copy(ROOT / "profiles.yml.example", root)
    if entries is not None:
        (root / "profiles.yml").write_text(f"{TARGET}{entries}\n")
    return root


def profile_of(root: Path, target: str | None = None) -> Profile:
    return load_profile(open_project(root), target)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "environment"),
    [
        ("short", {}),
        ("named", {"PGHOST": "db.example", "PGPORT": "6543", "PGUSER": "me", "PGDATABASE": "lab"}),
        ("ü" * 80, {"LABMART_SCHEMA": "other", "PGPORT": "6543", "PGSSLMODE": "disable"}),
    ],
)
def test_the_example_gives_what_dbt_makes_of_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: str,
    environment: dict[str, str],
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    root = make_project(tmp_path / folder)
    profile = profile_of(root)
    places = ("--project-dir", str(root), "--profiles-dir", str(root))
    dbtRunner().invoke(["--no-use-colors", "debug", *places])
    said = capsys.readouterr().out
    for key in KEYS:
        found = re.search(rf"^.*?  {DBT_NAMES.get(key, key)}: (.*)$", said, re.MULTILINE)
        assert found, said
        assert profile.text(key) == found[1].strip(), key


@pytest.mark.parametrize("length", [10, 60, 200])
def test_the_example_and_the_embedded_server_agree_on_the_socket(
    tmp_path: Path, length: int
) -> None:
    root = make_project(tmp_path / "é" / ("x" * length))
    database = find_database(open_project(root), None)
    assert database.embedded is not None
    assert database.profile.text("host") == str(database.embedded.run)
    # A socket's address holds so many bytes.
    assert len(bytes(database.embedded.socket)) < 108


def test_a_named_server_is_not_embedded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db.example")
    monkeypatch.setenv("PGUSER", "o'neil@lab")
    database = find_database(open_project(make_project(tmp_path / "p")), None)
    assert database.embedded is None
    assert database.url() == "postgresql://o%27neil%40lab@db.example:5432/labmart?sslmode=prefer"


def test_values_are_text_whatever_type_they_are_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("N", "0543e1")
    filters = {"port": "| as_number", "user": "| as_text", "password": ""}
    texts = (f"{key}: \"{{{{ env_var('N') {filter_} }}}}\"" for key, filter_ in filters.items())
    profile = profile_of(make_project(tmp_path / "p", "\n      ".join([*texts, "threads: 4"])))
    assert [profile.text(key) for key in filters] == ["0543e1"] * 3
    assert (profile.values["threads"], profile.text("threads")) == (4, "4")


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("host: \"{{ env_var('NO_SUCH') }}\"", "host.*NO_SUCH is not set"),
        ("host: \"{{ var('h') }}\"", "'var' is undefined"),
        ('host: "{{ nonsense }}"', "nonsense.*undefined"),
        ('host: "{{ 1 / 0 }}"', "host.*cannot be rendered: division by zero"),
        ('host: "{{ oops"', "host.*cannot be rendered"),
        ("host: [", "not YAML in line"),
    ],
)
def test_what_is_wrong_in_the_profile_is_said(tmp_path: Path, entry: str, message: str) -> None:
    root = make_project(tmp_path / "p", entry)
    with pytest.raises(ConfigError, match=message) as caught:
        profile_of(root)
    assert str(root / "profiles.yml") in str(caught.value)


def test_an_unknown_target_or_profile_is_said_with_what_there_is(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p", "host: here")
    with pytest.raises(ConfigError, match=r"no target 'prod'\. The targets are: postgres"):
        profile_of(root, "prod")
    for document in ("other: {}\n", ""):
        (root / "profiles.yml").write_text(document)
        with pytest.raises(ConfigError, match="no profile 'labmart'"):
            profile_of(root)


def test_a_missing_profile_is_made_and_an_existing_one_left_alone(tmp_path: Path) -> None:
    root = make_project(tmp_path / "p")
    assert open_project(root).profiles_dir == root
    example = (root / "profiles.yml.example").read_bytes()
    assert (root / "profiles.yml").read_bytes() == example
    (root / "profiles.yml").write_text("mine: {}\n")
    open_project(root)
    assert (root / "profiles.yml").read_text() == "mine: {}\n"


def test_a_profile_in_the_home_directory_is_used_like_dbt_does(tmp_path: Path, home: Path) -> None:
    root = make_project(tmp_path / "p")
    (home / ".dbt").mkdir()
    (home / ".dbt" / "profiles.yml").write_text(f"{TARGET}host: from-home\n")
    assert profile_of(root).text("host") == "from-home"
    (home / ".dbt" / "profiles.yml").write_text("another: {}\n")
    assert open_project(root).profiles_dir == root


def test_dbt_profiles_dir_wins_and_must_be_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "p", "host: root")
    make_project(tmp_path / "q", "host: named")
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "q"))
    assert profile_of(root).text("host") == "named"
    monkeypatch.setenv("DBT_PROFILES_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="DBT_PROFILES_DIR"):
        open_project(root)


def test_the_root_is_found_upwards_or_around_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_project(tmp_path / "p")
    (root / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(root / "a" / "b")
    assert open_project().root == root
    monkeypatch.chdir(tmp_path)
    assert open_project().root == ROOT
    with pytest.raises(UsageError, match="--project-dir"):
        open_project(tmp_path)
