"""The command as a person calls it: what goes where, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.databases import Database
from support.embedded import ask
from support.in_process import Done, command, program
from support.project import ROOT

from loader.cli import labmart as group
from loader.embedded import ServerPaths, start, stop
from loader.engines import dbt_session
from loader.errors import MissingExtra
from loader.project import Profile

MARTS = """
models:
  - name: user_features
    config: {meta: {order_by: [user_id]}}
    columns: [{name: user_id, data_type: bigint}]
  - name: input_issues
    config: {meta: {order_by: [line]}}
  - name: input_reconciliation
    config: {meta: {order_by: [input]}}
"""
SQL = """
create schema labmart;
create table labmart.user_features as
  select g::bigint as user_id, (g * 0.5)::numeric(18, 6) as avg_time
  from generate_series(1, 100000) g;
create table labmart.input_issues (
  rule text, severity text, line bigint, status text, file text, column_name text, value text);
insert into labmart.input_issues values
  ('duplicate_id', 'error', 3, 'open'), ('duplicate_id', 'error', 2, 'open'),
  ('missing_compounds', 'warning', 1, 'open'), ('invalid_id', 'error', 9, 'resolved');
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "models" / "marts").mkdir(parents=True)
    (root / "dbt_project.yml").write_text("name: tiny\nprofile: labmart\nversion: 1.0.0\n")
    (root / "models" / "marts" / "_marts.yml").write_text(MARTS)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    (root / "seeds").mkdir()
    shutil.copy(ROOT / "seeds" / "issue_rules.csv", root / "seeds")
    return root


@pytest.fixture(scope="module")
def filled(shared_database: Database) -> Database:
    shared_database.rows(SQL)
    return shared_database


def labmart(root: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Done:
    """Call the command in this process, as from a shell in the folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return command(*arguments, env=env)


HEAVY = {"psycopg2", "jinja2", "duckdb", "yaml", "dbt", "xlsxwriter"}


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("from loader.cli import labmart; labmart(['--help'], standalone_mode=False)", HEAVY),
        # To know whether a build is due takes no dbt, whose import takes longer than all the rest.
        ("import loader.cli.data, loader.build", {"dbt"}),
    ],
)
def test_the_command_loads_nothing_before_it_is_needed(code: str, heavy: set[str]) -> None:
    said = f"import sys; {code}\nprint({heavy} & set(sys.modules))"
    done = program(sys.executable, "-c", said)
    assert (done.code, done.out.splitlines()[-1:]) == (0, ["set()"]), done.err
    assert "--help" not in code or "Usage:" in done.out


@pytest.mark.parametrize(
    ("call", "variables", "message"),
    [
        ("show", {"DBT_PROFILES_DIR": "~nobody-at-all"}, "there is no home ~nobody-at-all"),
        ("show --target duckdb", {"LABMART_DUCKDB_PATH": "~nobody-at-all/x"}, "there is no home"),
        ("show --target spark", {"LABMART_LAKE": "~nobody-at-all/x"}, "there is no home"),
        ("show --target spark", {"LABMART_LAKE": "no://x"}, "neither a folder nor an address"),
        ("show", {"LABMART_SCHEMA": ""}, "`schema` of target 'postgres' is empty"),
        ("show", {"LABMART_TARGET": "prod"}, "no target 'prod'"),
        ("watch ~nobody-at-all/x", {}, "there is no home ~nobody-at-all"),
        ("watch sftp://", {}, "this address names no server or bucket"),
        ("worker --spool ~nobody-at-all/x", {}, "there is no home ~nobody-at-all"),
        ("worker --spool dbt_project.yml/x", {}, "Not a directory"),
        ("nonsense", {}, "No such command"),
        ("show --format xml", {}, "is not one of"),
        ("show user_featurs", {}, "Did you mean 'user_features'?"),
        ("export user_features x.doc", {}, "none of .csv, .json, .parquet, .xlsx"),
        ("show --target prod", {}, "no target 'prod'"),
        ("why user_features 1 user", {}, "no column 'user'. Did you mean 'user_id'?"),
        ("--project-dir models show", {}, "this is no labmart project"),
        ("roles --sql --target duckdb", {}, "no PostgreSQL server"),
        ("db start --target duckdb", {}, "does not use the embedded PostgreSQL: "),
        ("db expose --target duckdb", {}, "does not use the embedded PostgreSQL"),
        ("db start", {"PGHOST": "db.example"}, "its server is 'db.example'"),
    ],
)
def test_a_wrong_call_is_2_and_says_why(
    project: Path, call: str, variables: dict[str, str], message: str
) -> None:
    done = labmart(project, *call.split(" "), env=variables)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
    # Nothing was started for it.
    assert not (project / ".labmart").exists()


def test_a_call_of_another_project_is_for_that(project: Path) -> None:
    done = labmart(
        project.parent, "show", "--target", "no", env={"LABMART_PROJECT_DIR": str(project)}
    )
    assert f"{project}/profiles.yml" in done.err


def test_dbt_is_not_started_where_it_cannot_write(project: Path) -> None:
    (project / "logs").write_text("no folder\n")
    done = labmart(project, "build", "--target", "duckdb", "--", "--select", "x")
    assert done.code == 2
    assert f"{project / 'logs'} cannot be written to" in done.err


def test_help_behind_two_dashes_is_dbts(project: Path) -> None:
    done = labmart(project, "build", "--", "--help")
    assert done.code == 0
    assert "Usage: dbt build" in done.out
    assert "--select" in done.out


def test_a_caller_may_have_closed_the_output() -> None:
    assert program("sh", "-c", 'exec "$0" -m loader --version >&- 2>&-', sys.executable).code == 0


@pytest.mark.parametrize("name", sorted(group.commands))
def test_every_command_and_option_has_a_sentence_and_a_variable(name: str) -> None:
    found = group.commands[name]
    assert found.help
    for parameter in found.params:
        if parameter.param_type_name == "option":
            assert re.fullmatch("LABMART_[A-Z_]+", str(parameter.envvar)), parameter.name
            assert getattr(parameter, "help", None), parameter.name
    assert CliRunner().invoke(group, [name, "--help"]).exit_code == 0


def test_a_target_without_its_adapter_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dbt.adapters.duckdb", None)
    profile = Profile(path=Path(), target="fast", engine="duckdb", values={})
    with pytest.raises(MissingExtra, match="target fast needs the extra 'duckdb'"):
        dbt_session(profile)


@pytest.mark.slow
def test_show_prints_data_on_stdout_and_talk_on_stderr(project: Path, filled: Database) -> None:
    done = labmart(project, "show", env=filled.environment)
    assert done.code == 0, done.err
    assert len(done.out.splitlines()) == 2 + 100
    assert done.out.splitlines()[2] == "      1      0.50"
    assert "the first 100 of 100,000 rows" in done.err
    done = labmart(project, "show", "--format", "csv", "--limit", "2", env=filled.environment)
    assert done.out == "user_id,avg_time\n1,0.500000\n2,1.000000\n"
    variables = {**filled.environment, "LABMART_FORMAT": "json", "LABMART_LIMIT": "1"}
    assert json.loads(labmart(project, "show", env=variables).out) == [
        {"user_id": 1, "avg_time": 0.5}
    ]


@pytest.mark.slow
@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_a_reader_who_leaves_is_no_error(project: Path, filled: Database, form: str) -> None:
    call = f"{shlex.quote(sys.executable)} -m loader show --limit 0 --format {form} | head -n 1; "
    env = {**os.environ, "PYTHONPATH": str(ROOT), **filled.environment}
    done = program("bash", "-c", call + "exit ${PIPESTATUS[0]}", cwd=project, env=env)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "Broken" not in done.err
    assert len(done.out.splitlines()) == 1


@pytest.mark.slow
def test_ctrl_c_ends_the_server_of_an_assistant_that_says_nothing(project: Path) -> None:
    call = [sys.executable, "-m", "loader", "--project-dir", str(project), "mcp"]
    environment, pipe = {**os.environ, "PYTHONPATH": str(ROOT)}, subprocess.PIPE
    with subprocess.Popen(call, env=environment, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
        process.stdin.flush()
        assert b'"id":1' in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


@pytest.mark.slow
def test_issues_are_filtered_and_summed_up(project: Path, filled: Database) -> None:
    def issues(*arguments: str) -> Done:
        return labmart(project, "issues", *arguments, env=filled.environment)

    csv = ("--format", "csv", "--columns", "rule,severity,line,status")
    header = "rule,severity,line,status\n"
    done = issues(*csv)
    assert done.out == header + (
        "missing_compounds,warning,1,open\nduplicate_id,error,2,open\nduplicate_id,error,3,open\n"
    )
    assert [line.strip() for line in done.err.splitlines()] == [
        "2  error    duplicate_id: An earlier row of the same file has this id; this row is "
        "left out.",
        "1  warning  missing_compounds: The experiment lists no compound; it counts.",
    ]
    errors = issues("--severity", "error", *csv, "--limit", "1").out
    assert errors == header + "duplicate_id,error,2,open\n"
    assert "1  error    invalid_id" in issues("--all", "--rule", "invalid_id").err
    assert "There are no open data quality issues." in issues("--rule", "invalid_id").err
    assert issues("--columns", "line", "--limit", "1").out.split() == ["line", "----", "1"]
    done = issues("--rule", "duplicate_ids")
    assert done.code == 2
    assert "no rule 'duplicate_ids'. Did you mean 'duplicate_id'? The rules are:" in done.err


@pytest.mark.slow
def test_a_database_or_mart_that_is_not_there_says_what_to_do(
    project: Path, database: Database
) -> None:
    done = labmart(project, "show", env=database.environment)
    assert done.code == 2
    assert "Run `labmart build` first" in done.err
    done = labmart(project, "build", env={**database.environment, "PGDATABASE": "nowhere"})
    assert done.code == 4
    assert 'database "nowhere" does not exist. Create it (`createdb nowhere`)' in done.err
    if database.host.startswith("/"):
        done = labmart(project, "show", env={**database.environment, "PGUSER": "nobody_here"})
        assert done.code == 4
        assert "(`createuser nobody_here`)" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("name", ["show", "build", "run"])
def test_a_server_that_is_down_is_4(project: Path, name: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
        done = labmart(project, name, env={"PGHOST": "127.0.0.1", "PGPORT": port})
    assert done.code == 4
    for says in (f"No way into PostgreSQL at 127.0.0.1:{port}", "refused", "Start the server, or"):
        assert says in done.err


@pytest.mark.slow
def test_a_wrong_password_is_4_with_the_next_step(project: Path, place: ServerPaths) -> None:
    rules = place.home / "rules.conf"
    rules.write_text("local all labmart trust\nlocal all all scram-sha-256\n")
    place.user_settings.write_text(f"hba_file = '{rules}'\n")
    start(place)
    try:
        ask(place, "create role guest login password 'secret'")
        named = {"PGHOST": str(place.run), "PGUSER": "guest", "PGDATABASE": "labmart"}
        for password in ("wrong", ""):
            done = labmart(project, "build", env={**named, "PGPASSWORD": password})
            assert done.code == 4, done.err
            assert "PGUSER names another user" in done.err
            assert "PGPASSWORD" in done.err
            assert "secret" not in done.err
        done = labmart(project, "show", env={**named, "PGPASSWORD": "secret"})
        assert "Run `labmart build` first" in done.err
        assert "secret" not in labmart(project, "db", "url", env={**named, "PGPASSWORD": "x"}).out
    finally:
        stop(place)


@pytest.mark.slow
def test_db_start_status_url_stop(project: Path) -> None:
    try:
        assert labmart(project, "db", "url").code == 4
        assert "labmart db start" in labmart(project, "db", "url").err
        done = labmart(project, "db", "status")
        assert (done.code, done.out.splitlines()[0]) == (4, "status   stopped")
        assert labmart(project, "db", "start").code == 0
        assert "runs already" in labmart(project, "db", "start").err
        done = labmart(project, "db", "status")
        assert done.code == 0
        assert "PostgreSQL 18." in done.out
        url = labmart(project, "db", "url").out
        assert url.startswith("postgresql://labmart@/labmart?host=/")
        assert url.count("\n") == 1
    finally:
        done = labmart(project, "db", "stop")
    assert done.code == 0
    assert "stopped" in done.err
    assert "was not running" in labmart(project, "db", "stop").err
