"""The database roles: what each of them can do, and what it cannot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2.errors
import pytest
from support.databases import Database
from support.load_processes import labmart as as_process
from support.person import Person, write

from loader.publications import GreenBuild, Mart, Relation, open_publications
from loader.roles import builder_of, loader_of, reader_of

pytestmark = pytest.mark.slow

DENIED = psycopg2.errors.InsufficientPrivilege


@dataclass(frozen=True)
class Lab:
    """A person's schema with its roles, and a login of each of them."""

    person: Person
    database: Database
    schema: str

    def member(self, role: str) -> Database:
        """The database, as a member of the role comes to it."""
        return replace(self.database, user=f"{self.schema}_{role}_member")

    def does(self, role: str, sql: str) -> list[tuple[object, ...]]:
        """What a member gets for a statement; `s` in it is the schema."""
        return self.member(role).rows(sql.replace("{s}", self.schema))

    def may_not(self, role: str, *statements: str) -> None:
        """None of the statements is allowed to a member."""
        for sql in statements:
            with pytest.raises(DENIED):
                self.does(role, sql)


@pytest.fixture
def schema(person: Person) -> Iterator[str]:
    """The person's schema; roles that are named like it are dropped afterwards."""
    name = os.environ["LABMART_SCHEMA"]
    yield name
    for (role,) in person.rows(f"select rolname from pg_roles where rolname like '{name}%'"):
        run(person, f"drop owned by {role} cascade; drop role {role}")


@pytest.fixture
def person(postgres_person: Person) -> Person:
    """PostgreSQL alone has roles."""
    return postgres_person


@pytest.fixture
def lab(person: Person, shared_database: Database, schema: str) -> Lab:
    """Roles as `labmart roles` makes them, and somebody in each."""
    done = person.labmart("roles")
    assert done.code == 0, done.err
    made = Lab(person, shared_database, schema)
    for name, role in roles_of(schema).items():
        # What is made belongs to the group, as `role:` in profiles.yml would have it.
        login = add_login(made.member(name), person)
        run(person, f"grant {role} to {login}", f"alter role {login} set role {role}")
    return made


def roles_of(schema: str) -> dict[str, str]:
    loader, builder, reader = loader_of(f"{schema}_raw"), builder_of(schema), reader_of(schema)
    return {"loader": loader, "builder": builder, "reader": reader}


def add_login(somebody: Database, person: Person) -> str:
    """Let somebody connect who may do nothing yet; the name."""
    password = somebody.password or "x"
    run(person, f"create role {somebody.user} login password '{password}'")
    return somebody.user


def run(person: Person, *statements: str) -> None:
    for sql in statements:
        person.engine.rows(sql)


def rights(person: Person, schema: str) -> list[tuple[object, ...]]:
    """All that is granted in the schemas, and to whom new tables will be."""
    return person.rows(
        "select nspname::text, nspowner::regrole::text, nspacl::text from pg_namespace "
        f"where nspname like '{schema}%' union all "
        "select relname::text, relowner::regrole::text, relacl::text from pg_class "
        f"where relnamespace::regnamespace::text like '{schema}%' union all "
        "select defaclnamespace::regnamespace::text, defaclrole::regrole::text, defaclacl::text "
        f"from pg_default_acl where defaclnamespace::regnamespace::text like '{schema}%' "
        "order by 1, 2, 3"
    )


def test_a_second_time_changes_nothing(lab: Lab) -> None:
    before = rights(lab.person, lab.schema)
    assert len(before) > 10
    assert lab.person.labmart("roles").code == 0
    assert rights(lab.person, lab.schema) == before


def test_the_loader_loads_and_sees_no_result(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.does("builder", "create table {s}.users as select 1 as user_id")
    with monkeypatch.context() as patch:
        patch.setenv("PGUSER", lab.member("loader").user)
        assert lab.person.labmart("load", write("users.csv")).code == 0
        assert lab.person.labmart("undo", "1").code == 0
        assert lab.person.labmart("redo", "1").code == 0
        assert lab.person.labmart("prune").code == 0
    assert lab.person.names() == ["Ada", "Béla"]
    made = ("table {s}.x (a int)", "table {s}_staging.x (a int)", "schema x", "role x")
    lab.may_not("loader", "select * from {s}.users", *(f"create {what}" for what in made))


def test_the_builder_builds_and_changes_nothing_that_was_loaded(lab: Lab) -> None:
    lab.does("builder", "create table {s}.x (a int)")
    lab.does("builder", "create view {s}_staging.v as select * from {s}_raw.users")
    assert lab.does("builder", "select count(*) from {s}_staging.v") == [(0,)]
    assert lab.does("builder", "select count(*) from {s}_raw.loads") == [(0,)]
    lab.may_not(
        "builder",
        "insert into {s}_raw.users (name) values ('x')",
        "update {s}_raw.loads set status = 'reverted'",
        "delete from {s}_raw.rejected_lines",
        "truncate {s}_raw.users",
        "drop table {s}_raw.users",
        "create table {s}_raw.x (a int)",
        "create role x",
    )
    # The table of a new input.
    lab.does("loader", "create table {s}_raw.plates (plate_id text)")
    assert lab.does("builder", "select * from {s}_raw.plates") == []
    lab.may_not("reader", "select * from {s}_raw.plates")


def test_the_reader_reads_what_is_for_it_and_writes_nothing(lab: Lab) -> None:
    # Twice, as dbt does: a new table in the old one's place.
    for _ in range(2):
        lab.does(
            "builder", "drop table if exists {s}.users; create table {s}.users as select 1 as a"
        )
        assert lab.does("reader", "select * from {s}.users") == [(1,)]
    assert lab.does("reader", "select count(*) from {s}_raw.loads") == [(0,)]
    assert lab.does("reader", "select count(*) from {s}_raw.rejected_lines") == [(0,)]
    lab.does("builder", "create table {s}_staging.stg as select 1 as a")
    lab.may_not(
        "reader",
        "select * from {s}_raw.users",
        "select * from {s}_staging.stg",
        "insert into {s}.users values (2)",
        "update {s}.users set a = 2",
        "delete from {s}.users",
        "drop table {s}.users",
        "truncate {s}.users",
        "create table {s}.x (a int)",
        "create schema x",
        f"set role {builder_of(lab.schema)}",
        "select pg_read_file('postgresql.conf')",
        "copy (select 1) to program 'true'",
    )


def test_the_builder_publishes_and_the_reader_reads_what_is_published(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = lab.person.engine.profile(lab.schema)
    builder = replace(person, values={**person.values, "user": lab.member("builder").user})
    # Roles are made once more when there are builds, as each start of the service does.
    order = (person, builder, person, None, person, builder)
    for number, profile in enumerate(order, start=1):
        if profile is None:
            assert lab.person.labmart("roles").code == 0
            continue
        with open_publications(profile) as publications:
            place = publications.begin()
            make = f"create schema {place}; create table {place}.users as select {number} as a"
            lab.does("builder", make) if profile is builder else run(lab.person, make)
            build = GreenBuild(place, (Relation("", "users"),), (Mart("users", 1),))
            build_number = publications.publish(build, 1)
        assert lab.does("reader", "select * from {s}.users") == [(number,)]
        status = lab.does("reader", "select mart, build from {s}.mart_status")
        assert status == [("users", build_number)]
    lab.may_not("reader", "select * from {s}__b5.users", "update {s}.users set a = 3")
    # What somebody else has built belongs to the builder as well.
    with open_publications(builder) as publications:
        publications.roll_back(None)
    assert lab.does("reader", "select * from {s}.users") == [(5,)]
    # Who may read some of the marts alone is told of these.
    guest = add_login(lab.member("guest"), lab.person)
    run(
        lab.person,
        f"grant usage on schema {lab.schema} to {guest}",
        f"grant select on {lab.schema}.mart_status to {guest}",
    )
    monkeypatch.setenv("PGUSER", guest)
    told = lab.person.labmart("status", "--format", "csv")
    assert told.code == 0, told.err
    assert "\nusers," in told.out


def test_what_was_there_before_belongs_to_its_role_afterwards(person: Person, schema: str) -> None:
    assert person.load(write("users.csv")).code == 0
    run(person, f"create schema {schema}; create table {schema}.users as select 1 as user_id")
    assert person.labmart("roles").code == 0
    owners = person.rows(
        "select relname::text, relowner::regrole::text from pg_class "
        f"where relnamespace::regnamespace::text in ('{schema}', '{schema}_raw') "
        "and relname in ('users', 'loads') order by 1, 2"
    )
    loader, builder, _ = roles_of(schema).values()
    assert owners == [("loads", loader), ("users", builder), ("users", loader)]
    assert person.load(write("more.csv", "user_id,name,email,signup_date\n9,Z,,\n")).code == 0


def test_somebody_without_the_right_gets_the_sql(
    person: Person, shared_database: Database, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = add_login(replace(shared_database, user=f"{schema}_nobody"), person)
    with monkeypatch.context() as patch:
        patch.setenv("PGUSER", nobody)
        refused = person.labmart("roles")
        assert (refused.code, "labmart roles --sql" in refused.err) == (4, True)
        assert not person.has_tables()
        printed = person.labmart("roles", "--sql")
    assert printed.code == 0
    # It can be run again.
    run(person, printed.out, printed.out)
    monkeypatch.setenv("PGUSER", nobody)
    assert person.labmart("load", write("users.csv")).code == 0


def test_the_builder_may_do_all_that_a_build_does(
    lab: Lab, project_copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABMART_SCHEMA", lab.schema)
    only = ("--select", "+users", "--exclude-resource-type", "test", "unit_test")
    calls = {"builder": ("build", "--", *only), "reader": ("show", "users", "--limit", "1")}
    for role, call in calls.items():
        done = as_process(lab.member(role), "--project-dir", project_copy, *call)
        assert done.code == 0, done.out + done.err
    lab.may_not("reader", "select * from {s}_staging.int_users", "drop table {s}.users")
