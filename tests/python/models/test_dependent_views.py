"""On PostgreSQL a model that is built again keeps the views on it, the project's and people's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.engines import Postgres
from support.workbench import Workbench, open_workbench

pytestmark = pytest.mark.slow

# A person's own: a view, a view on that, one of a mart that is a view itself, a materialized one.
OWN = """
    create schema own;
    create view own.people with (security_barrier = true) as
        select user_id, name as "the Name", signup_date from labmart.users;
    comment on view own.people is 'It''s ours';
    comment on column own.people."the Name" is 'as written';
    grant select on own.people to pg_monitor;
    create view own.letters as select upper("the Name") as "the Name" from own.people;
    grant select on own.letters to public;
    grant select on own.letters to pg_monitor with grant option;
    create view own.runs as
        select user_id, sum(run_time) as run_time from labmart.experiments group by user_id;
    create materialized view own.days as
        select signup_date, count(*) as users from labmart.users group by signup_date;
    create unique index one_row_per_day on own.days (signup_date);
"""
# Everything that there is, with rights, options and comments; indexes of tables are named anew.
RELATIONS = """
    select
        format('%s.%s', nspname, relname), cast(relkind as text), cast(relacl as text),
        cast(reloptions as text), obj_description(pg_class.oid, 'pg_class'),
        col_description(pg_class.oid, 2)
    from pg_class inner join pg_namespace on relnamespace = pg_namespace.oid
    where nspname like 'labmart%' and relkind in ('r', 'v') or nspname = 'own'
    order by 1
"""
CONTENTS = """
    select 'letters', count(*)::text, max("the Name") from own.letters
    union all select 'runs', count(*)::text, max(run_time)::text from own.runs
    union all select 'days', count(*)::text, max(signup_date)::text from own.days
    order by 1
"""


@pytest.fixture(scope="module")
def opened(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Workbench]:
    folder = tmp_path_factory.mktemp("views")
    server = request.getfixturevalue
    with open_workbench("postgres", lambda: server("server"), folder) as bench:
        bench.build()
        rows(bench, OWN)
        yield bench


@pytest.fixture
def bench(opened: Workbench, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    opened.enter(monkeypatch)
    return opened


def rows(bench: Workbench, sql: str) -> list[tuple[object, ...]]:
    assert isinstance(bench.engine, Postgres)
    return bench.engine.rows(sql)


@pytest.mark.parametrize(
    "call",
    [
        "run --select users",
        "run --select stg_input_files int_users int_experiments",
        "seed --full-refresh",
        *(
            pytest.param(call, marks=pytest.mark.prove("more tables at once, the same swap"))
            for call in ("run --select +user_features", "run --full-refresh")
        ),
    ],
)
def test_whatever_is_built_again_all_views_stand(bench: Workbench, call: str) -> None:
    before, contents = rows(bench, RELATIONS), rows(bench, CONTENTS)
    assert len(before) >= 40
    bench.dbt(*call.split())
    assert rows(bench, RELATIONS) == before
    assert rows(bench, CONTENTS) == contents
    left_over = "select relname from pg_class where relname like '%\\_\\_dbt\\_%'"
    assert rows(bench, left_over) == []


def test_a_seed_that_labmart_has_published_is_seeded_as_a_table(bench: Workbench) -> None:
    """dbt refuses to seed a view."""
    rows(
        bench,
        """
        create schema place;
        alter table labmart_seeds.raw_compounds set schema place;
        create view labmart_seeds.raw_compounds as select * from place.raw_compounds;
        create view own.structures as
            select compound_structure from labmart_seeds.raw_compounds;
        """,
    )
    bench.dbt("seed", "--select", "raw_compounds")
    kind = "select relkind::text from pg_class where oid = 'labmart_seeds.raw_compounds'::regclass"
    assert rows(bench, kind) == [("r",)]
    [(before,)] = rows(bench, "select count(*) from own.structures")
    rows(bench, "delete from labmart_seeds.raw_compounds where compound_id = '1'")
    assert rows(bench, "select count(*) from own.structures") == [(int(str(before)) - 1,)]
    rows(bench, "drop view own.structures; drop schema place cascade")
    bench.dbt("run", "--select", "base_seed_compounds")


def test_views_show_what_was_built_last(bench: Workbench) -> None:
    ids = rows(bench, "select cast('own.people' as regclass)::oid, 'own.letters'::regclass::oid")
    seed = bench.project / "seeds" / "raw_users.csv"
    text = seed.read_text()
    seed.write_text(f"{text}900,zzz,,2031-01-01\n")
    bench.dbt("seed", "--select", "raw_users")
    bench.dbt("run", "--select", "base_seed_users", "stg_input_files", "int_users", "users")
    shown = {name: (count, greatest) for name, count, greatest in rows(bench, CONTENTS)}
    assert shown["letters"] == ("25", "ZZZ")
    assert shown["days"] == ("25", "2031-01-01")
    again = "select cast('own.people' as regclass)::oid, 'own.letters'::regclass::oid"
    assert rows(bench, again) == ids, "they are the same views, not others of their names"
    seed.write_text(text)
    bench.dbt("seed", "--select", "raw_users")
    bench.dbt("run", "--select", "base_seed_users", "stg_input_files", "int_users", "users")


def test_a_column_of_another_type_takes_views_along_and_a_lost_one_is_named(
    bench: Workbench,
) -> None:
    rows(
        bench,
        """
        create schema other;
        create view other.dates as select user_id, signup_date from labmart.users;
        create view other.years as select extract(year from signup_date) as y from other.dates;
        create view other.on_dates as select user_id from other.dates;
        grant select on other.on_dates to pg_monitor;
        """,
    )
    model = bench.project / "models" / "marts" / "users.sql"
    contract = bench.project / "models" / "marts" / "_marts.yml"
    sql, yaml = model.read_text(), contract.read_text()
    model.write_text(sql.replace("cast(signup_date as date)", "cast(signup_date as text)"))
    contract.write_text(yaml.replace("data_type: date", "data_type: text", 1))
    bench.parsed.parse()
    before = rows(bench, RELATIONS)
    bench.dbt("run", "--select", "users")
    lost = "they belong to a role you are no member of): other.years\n"
    logs = (bench.project / "logs" / "dbt.log").read_text().splitlines(keepends=True)
    assert [line for line in logs if line.endswith(lost)]
    kept = [row for row in rows(bench, RELATIONS) if str(row[0]).startswith("own.")]
    assert kept == [row for row in before if str(row[0]).startswith("own.")]
    right = "select has_table_privilege('pg_monitor', 'other.on_dates', 'select')"
    assert rows(bench, right) == [(True,)]
    types = "select pg_typeof(signup_date)::text from other.dates limit 1"
    assert rows(bench, types) == [("text",)]
    model.write_text(sql)
    contract.write_text(yaml)
    bench.parsed.parse()
    bench.dbt("run", "--select", "users")
    assert rows(bench, types) == [("date",)]
    assert rows(bench, RELATIONS) == before
