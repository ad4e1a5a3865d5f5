"""Container, compose file and systemd units, as far as they can be tried without their programs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pathspec import PathSpec
from support.databases import Database
from support.in_process import fault, labmart, program
from support.project import ROOT, loading_project

from loader.cli import labmart as command
from loader.embedded import programs

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("roles", "service", "watch")
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DOCKERIGNORE = (ROOT / ".dockerignore").read_text()
UNITS = sorted((ROOT / "deploy").glob("*.service"))


def instructions(name: str) -> list[str]:
    """What stands behind each instruction of this name, on one line."""
    joined = DOCKERFILE.replace("\\\n", " ")
    return [
        line.split(" ", 1)[1].strip() for line in joined.splitlines() if line.startswith(f"{name} ")
    ]


def test_the_dockerfile_passes_the_linter() -> None:
    done = program(Path(sys.executable).with_name("hadolint"), "Dockerfile")
    assert done.code == 0, done.out + done.err


def test_the_image_installs_what_is_pinned_and_runs_as_nobody_in_particular() -> None:
    for base in instructions("FROM"):
        assert re.match(r"python:3\.\d+-slim-\w+( AS \w+)?$", base), base
    assert instructions("USER") == ["10001:10001"]
    assert instructions("HEALTHCHECK")
    for line in instructions("ENV"):
        assert not re.search(r"PASSWORD|TOKEN|SECRET", line), line
    _, *installs = " ".join(instructions("RUN")).split("pip install")
    assert installs
    for call in installs:
        assert "--require-hashes" in call or "--no-deps --no-build-isolation --editable ." in call


def test_the_build_gets_what_it_copies_and_nothing_private() -> None:
    # Docker's patterns begin at the root, git's anywhere.
    patterns = re.sub(r"^(!?)(?![!#]|\*\*/)", r"\1/", DOCKERIGNORE, flags=re.MULTILINE)
    ignored = PathSpec.from_lines("gitwildmatch", patterns.splitlines())
    copied = [
        source
        for line in instructions("COPY")
        if not line.startswith("--from")
        for source in shlex.split(line)[:-1]
    ]
    needed = ("loader/service/app.py", "models/marts/_marts.yml", "seeds/raw_users.csv")
    private = (
        *("profiles.yml", "secrets/token", ".git/config", ".venv/bin/python", ".labmart/data/base"),
        *("lab.duckdb", "derby.log", "target/manifest.json", "tests/python/conftest.py"),
        *("tests/.env", "loader/__pycache__/app.pyc", "models/staging/.orders.sql.swp"),
    )
    assert [path for path in (*copied, *needed) if ignored.match_file(path)] == []
    assert [path for path in private if not ignored.match_file(path)] == []


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_and_writes_to_its_volumes_only(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    for variable, value in service["environment"].items():
        if re.search(r"PASSWORD|TOKEN", variable):
            assert variable.endswith("_FILE")
            assert Path(value).name in service["secrets"]


def test_make_writes_secrets_that_differ_and_stay(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for _ in range(2):
        assert program("make", "--silent", "secrets", cwd=tmp_path).code == 0
        texts = [(tmp_path / secret["file"]).read_text() for secret in COMPOSE["secrets"].values()]
        assert len(set(texts)) == len(texts)
        assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in texts)
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    assert all(path.stat().st_mode & 0o004 for path in (tmp_path / "secrets").iterdir())


@pytest.mark.parametrize("name", OURS)
def test_a_container_of_ours_calls_the_command_as_it_is(name: str) -> None:
    words = SERVICES[name].get("command") or yaml.safe_load(instructions("CMD")[0])
    assert fault(command, words) is None
    volumes = {line.split(":")[1] for line in SERVICES[name]["volumes"]}
    assert volumes >= set(yaml.safe_load(instructions("VOLUME")[0]))


def test_postgres_keeps_its_data() -> None:
    # Below this folder the image keeps the data since version 18.
    assert "data:/var/lib/postgresql" in SERVICES["postgres"]["volumes"]


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_understands_the_unit(unit: Path, tmp_path: Path) -> None:
    text = unit.read_text()
    calls = re.findall(r"^Exec\w+=/srv/labmart/\.venv/bin/labmart (.*)$", text, re.MULTILINE)
    assert calls
    for call in calls:
        assert fault(command, shlex.split(call)) is None
    verifier = shutil.which("systemd-analyze")
    if verifier is None:
        pytest.skip("there is no systemd-analyze here")
    # It looks for the program; that of the tests is there.
    for other in UNITS:
        runnable = other.read_text().replace("/srv/labmart/.venv/bin/labmart", "/bin/true")
        (tmp_path / other.name).write_text(runnable.replace("User=labmart", "User=root"))
    done = program(verifier, "verify", "--man=no", tmp_path / unit.name)
    assert done.code == 0, done.err
    assert unit.name not in done.err, done.err


@pytest.fixture
def created(server: Database, tmp_path: Path) -> Iterator[Database]:
    """The database that the image makes at its first start, with the script that it runs."""
    name = f"made_{tmp_path.name[-20:].replace('-', '_')}"
    secret = tmp_path / "database_password"
    secret.write_text("a 'quoted' secret\n")
    script = (ROOT / "deploy" / "create_database.sql").read_text()
    script = script.replace("/run/secrets/database_password", str(secret))
    script = re.sub(r"\blabmart\b(?! roles)", name, script)
    (tmp_path / "create.sql").write_text(script)
    call = (programs() / "psql", "-v", "ON_ERROR_STOP=1", "--no-psqlrc", "-f", "create.sql")
    environment = {**server.environment, "PATH": "/usr/bin:/bin"}
    done = program(*call, cwd=tmp_path, env=environment)
    assert done.code == 0, done.err
    yield Database(server.host, server.port, name, name, "a 'quoted' secret")
    server.rows(f"drop database {name} with (force)")
    for role in (f"{name}_loader", f"{name}_builder", f"{name}_reader", name):
        server.rows(f"drop role {role}")


@pytest.mark.slow
def test_the_first_start_makes_an_owner_who_can_make_the_roles(
    created: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = loading_project(tmp_path / "project")
    for variable, value in created.environment.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.delenv("PGPASSWORD")
    monkeypatch.setenv("PGPASSWORD_FILE", str(tmp_path / "database_password"))
    monkeypatch.setenv("LABMART_SCHEMA", created.name)
    monkeypatch.setenv("LABMART_RAW_SCHEMA", f"{created.name}_raw")
    for call in (("roles",), ("load", str(ROOT / "seeds" / "raw_users.csv"))) * 2:
        done = labmart(project, *call)
        assert done.code == 0, done.err
    rights = "select rolsuper, rolcreatedb from pg_roles where rolname = current_user"
    assert created.rows(rights) == [(False, False)]


def test_a_password_file_that_is_not_there_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOST", "127.0.0.1")
    monkeypatch.setenv("PGPASSWORD_FILE", str(tmp_path / "none"))
    done = labmart(loading_project(tmp_path / "project"), "db", "url")
    assert (done.code, "PGPASSWORD_FILE" in done.err) == (2, True)


KUBERNETES = json.loads((ROOT / "tests" / "fixtures" / "kubernetes_1_37.json").read_text())


def wrong_with(kind: str, value: object) -> list[str]:
    """What Kubernetes would refuse of an object; a field that it does not know too."""
    schema = {"$ref": KUBERNETES["kinds"][kind], "$defs": KUBERNETES["$defs"]}
    return [f"{e.json_path}: {e.message}" for e in Draft202012Validator(schema).iter_errors(value)]


@pytest.mark.parametrize("name", ["sail", "spark"])
def test_kubernetes_knows_every_object_of_the_manifest(name: str) -> None:
    text = (ROOT / "deploy" / "kubernetes" / f"{name}.yaml").read_text()
    objects = list(yaml.safe_load_all(text))
    by_kind = {part["kind"]: part for part in objects}
    assert [wrong for part in objects for wrong in wrong_with(part["kind"], part)] == []
    deployment = by_kind["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    templates = [deployment["template"]]
    [container] = pod["containers"]
    for variable in container["env"]:
        if variable["name"].endswith("POD_TEMPLATE"):
            templates.append(json.loads(variable["value"]))
            assert wrong_with("PodTemplateSpec", templates[-1]) == []
        # The rights to the lake come from the secret alone.
        assert not variable["name"].startswith("AWS_")
    for template in templates:
        assert template["spec"]["containers"][0]["envFrom"] == [{"secretRef": {"name": "lake"}}]
    assert by_kind["Service"]["spec"]["selector"] == deployment["selector"]["matchLabels"]
    assert deployment["template"]["metadata"]["labels"] == deployment["selector"]["matchLabels"]
    assert by_kind["RoleBinding"]["subjects"][0]["name"] == pod["serviceAccountName"]
    ports = {port["name"] for port in container["ports"]}
    rules = by_kind["NetworkPolicy"]["spec"]["ingress"]
    used = [port["port"] for rule in rules for port in rule.get("ports", ())]
    used += [port["targetPort"] for port in by_kind["Service"]["spec"]["ports"]]
    assert ports.issuperset(used)


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    wrong = {"spec": {"containers": [{"name": "worker", "environment": []}]}}
    assert any("environment" in text for text in wrong_with("PodTemplateSpec", wrong))
