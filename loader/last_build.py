"""Whether anything has changed since the last green build, so that the next one can be left out.

Kept beside the marts: what the build read (the project's files, the variables, dbt's version, the
loads) and what it left behind. Any difference means that the next build is due, whoever made it:
`labmart load` or `undo`, plain `dbt`, a person with psql, a restored backup, another machine. What
cannot be compared counts as changed. Nothing here imports dbt.

On PostgreSQL a table in the mart schema keeps, for each relation, how many rows it has and the sum
of the transactions that wrote them (`xmin`), which no insert, update, delete or new table leaves as
it was; of a view its definition. On DuckDB a file beside the database keeps the state of its file,
which holds everything. In the lake a file keeps the newest entry of the ledger and the newest
publication: what they name is never changed.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psycopg2
import psycopg2.extensions

from loader import __version__
from loader.engines.postgres import interruptible, open_connection
from loader.engines.sql import literal, quote
from loader.profile import Profile
from loader.project import PROFILES_FILE, PROJECT_FILE, Project, read_yaml

# What dbt reads unless dbt_project.yml names other folders; docs.getdbt.com, "dbt_project.yml".
# Not Python: a project with a model in it is built each time.
_FOLDERS = (
    "analyses",
    "dbt_packages",
    "functions",
    "macros",
    "models",
    "seeds",
    "snapshots",
    "tests",
)
_SUFFIXES = (".csv", ".md", ".sql", ".yaml", ".yml")
# A call with a name in quotes, which is the second group, or with anything else.
_ENV_VAR = re.compile(rb"\benv_var\s*\(\s*(?:(['\"])(\w+)\1|[^\s)])")
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)
_TABLE = "labmart_last_build"
_BUILT = ("model", "seed", "snapshot")
# Tables and views, without foreign ones, whose rows are elsewhere.
_FIND = """
select
    n.nspname::text,
    c.relname::text,
    c.relkind <> 'v',
    concat(
        c.relkind,
        (
            select string_agg(concat(attname, ':', atttypid, ':', atttypmod), ',' order by attnum)
            from pg_attribute
            where attrelid = c.oid and attnum > 0 and not attisdropped
        ),
        case when c.relkind = 'v' then pg_get_viewdef(c.oid) end
    )
from unnest(%s::text[], %s::text[]) as relation(schema, name)
inner join pg_namespace as n on relation.schema = n.nspname
inner join pg_class as c on n.oid = c.relnamespace and relation.name = c.relname
where c.relkind in ('r', 'p', 'm', 'v')
"""

# Schema and name.
Relation = tuple[str, str]
State = dict[Relation, str]


class LastBuild:
    """What is known of the last green build of a target; here nothing, so that each is done."""

    def is_current(self, code: str) -> bool:  # noqa: ARG002 -- for those who know more
        """Whether it was made by this code, and nothing has changed since."""
        return False

    def begin(self) -> None:
        """Forget it: a build begins that replaces its tables."""

    def keep(self, code: str, manifest: Path, invocation_id: str) -> None:
        """The build was green. Does nothing if it cannot be told what it has read and left."""


@contextmanager
def last_build(profile: Profile) -> Iterator[LastBuild]:
    """What is known of the last green build of a target. Raises DatabaseUnreachable."""
    if profile.engine == "postgres":
        with closing(open_connection(profile, "labmart build")) as connection:
            connection.autocommit = True
            yield _OnPostgres(connection, profile)
    elif profile.engine == "duckdb" and not profile.values.get("attach"):
        from loader.engines.duckdb import path_of

        yield _OnDuckDB(path_of(profile))
    elif profile.engine == "spark":
        yield _OnLake(profile)
    else:
        yield LastBuild()


def code_of(project: Project, profile: Profile, variables: str | None) -> str | None:
    """A digest of all that says how marts are made; None if it cannot be told what dbt reads.

    No password goes into it: the digest is kept where every reader of the marts can see it.
    """
    folders = _folders(read_yaml(project.root / PROJECT_FILE))
    if any("{" in folder for folder in folders):
        return None
    digest = hashlib.sha256()
    names = {name for name in os.environ if name.startswith("DBT_") and not _SECRET.search(name)}
    for path in _files(project.root, folders):
        content = path.read_bytes()
        name = os.path.relpath(path, project.root)
        digest.update(f"{name}\0{len(content)}\0".encode() + content)
        if path.suffix != ".csv":
            variables_read = {name.decode() for _, name in _ENV_VAR.findall(content)}
            if "" in variables_read:
                return None
            names |= variables_read
    values = {
        "variables": variables,
        "environment": {name: os.environ.get(name) for name in names},
        "target": profile.target,
        "profile": {
            key: str(profile.values[key]) for key in profile.values if not _SECRET.search(key)
        },
        "versions": [__version__, *map(_version, ("core", "common", "adapters", profile.engine))],
    }
    digest.update(json.dumps(values, sort_keys=True).encode())
    return digest.hexdigest()


def _folders(settings: object) -> set[str]:
    """The folders that dbt may read, the usual ones and those that dbt_project.yml names."""
    folders = set(_FOLDERS)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key.endswith("-paths") or key == "packages-install-path":
            folders.update(map(str, value if isinstance(value, list) else [value]))
    return folders


def _files(root: Path, folders: Iterable[str]) -> list[Path]:
    """The files in them that dbt may read, and the YAML beside dbt_project.yml."""
    paths = {path for path in root.iterdir() if path.suffix in (".yml", ".yaml")}
    for folder in folders:
        for parent, _, names in os.walk(root / folder, followlinks=True):
            paths |= {Path(parent, name) for name in names if name.endswith(_SUFFIXES)}
    # The profile's target is compared as it is rendered.
    return sorted(path for path in paths if path.name != PROFILES_FILE and path.is_file())


def _version(package: str) -> str:
    try:
        return version(f"dbt-{package}")
    except PackageNotFoundError:
        return ""


def _relations(manifest: Path, invocation_id: str) -> tuple[list[Relation], list[Relation]] | None:
    """What an invocation of dbt has built, and its sources; None if that is not all it has read."""
    document = json.loads(manifest.read_text(encoding="utf-8"))
    nodes, sources = document["nodes"].values(), document["sources"].values()
    if (
        document["metadata"]["invocation_id"] != invocation_id
        or any(node.get("language") == "python" for node in nodes)
        or any("external_location" in json.dumps(source) for source in sources)
    ):
        return None
    built = [
        (node["schema"], node["alias"])
        for node in nodes
        if node["resource_type"] in _BUILT and node["config"]["materialized"] != "ephemeral"
    ]
    return built, [(source["schema"], source["identifier"]) for source in sources]


class _OnPostgres(LastBuild):
    """See `LastBuild`. What the database refuses is never the build's fault: nothing is kept."""

    def __init__(self, connection: psycopg2.extensions.connection, profile: Profile) -> None:
        self._connection = connection
        self._schema = profile.schema
        self._raw_schema = profile.raw_schema
        self._table = f"{quote(profile.schema)}.{quote(_TABLE)}"
        # Names this build in the table: whoever begins another one takes it away.
        self._id = uuid.uuid4().hex
        self._loaded: State = {}

    def is_current(self, code: str) -> bool:
        """See `LastBuild`."""
        with suppress(psycopg2.Error, ValueError, KeyError, TypeError):
            [(record,)] = self._run(f"select record from {self._table}")
            kept = json.loads(record)
            state = {(schema, name): state for schema, name, state in kept["state"]}
            return kept["code"] == code and self._state(list(state)) == state
        return False

    def begin(self) -> None:
        """See `LastBuild`."""
        with suppress(psycopg2.Error):
            if not self._run("select 1 from pg_namespace where nspname = %s", (self._schema,)):
                self._run(f"create schema {quote(self._schema)}")
            # Two builds at once, of two machines, mix their tables: neither is kept. The lock says
            # that there is another, and ends with the connection.
            lock = f"hashtextextended({literal(f'labmart build {self._schema}')}, 0)"
            self._run(
                f"begin; create table if not exists {self._table} (build text, record text); "
                f"lock table {self._table} in exclusive mode; delete from {self._table}; "
                f"insert into {self._table} (build) select {literal(self._id)} "
                f"where pg_try_advisory_lock({lock}); commit"
            )
            # What is loaded from now on, this build may have seen or not.
            self._loaded = self._state(self._raw_tables())

    def keep(self, code: str, manifest: Path, invocation_id: str) -> None:
        """See `LastBuild`."""
        with suppress(psycopg2.Error, OSError, ValueError, KeyError, TypeError):
            relations = _relations(manifest, invocation_id)
            if relations is None:
                return
            built, sources = relations
            # Tables that dbt has made, unless somebody has loaded something meanwhile.
            made = [name for name in self._raw_tables() if name not in self._loaded]
            raw = self._loaded | self._state([name for name in made if self._is_empty(name)])
            state = self._state(built) | {name: raw[name] for name in sources}
            if len(state) < len(built) + len(sources):
                return
            record = {"code": code, "state": [[*name, item] for name, item in state.items()]}
            self._run(
                f"update {self._table.replace('%', '%%')} set record = %s where build = %s",
                (json.dumps(record), self._id),
            )

    def _raw_tables(self) -> list[Relation]:
        sql = "select schemaname::text, tablename::text from pg_tables where schemaname = %s"
        return [(schema, name) for schema, name in self._run(sql, (self._raw_schema,))]

    def _state(self, relations: Sequence[Relation]) -> State:
        """For each relation that exists what no change of it leaves as it was."""
        found = self._run(_FIND, ([name for name, _ in relations], [name for _, name in relations]))
        state = {(schema, name): shape for schema, name, _, shape in found}
        tables = [(schema, name) for schema, name, has_rows, _ in found if has_rows]
        counts = " union all ".join(
            f"select {number}, concat(count(*), ' ', sum(xmin::text::bigint)) "
            f"from {quote(schema)}.{quote(name)}"
            for number, (schema, name) in enumerate(tables)
        )
        for number, rows in self._run(counts) if tables else []:
            state[tables[number]] += f" {rows}"
        return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in state.items()}

    def _is_empty(self, relation: Relation) -> bool:
        [(has_rows,)] = self._run(f"select exists (select from {'.'.join(map(quote, relation))})")
        return not has_rows

    def _run(self, sql: str, values: Sequence[object] | None = None) -> list[tuple[Any, ...]]:
        with interruptible(), self._connection.cursor() as cursor:
            cursor.execute(sql, values)
            return cursor.fetchall() if cursor.description else []


class _OnDuckDB(LastBuild):
    """See `LastBuild`. Whoever writes to the file, by whatever program, changes its state."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._record = database.with_name(f"{database.name}.last_build")

    def is_current(self, code: str) -> bool:
        """See `LastBuild`."""
        with suppress(OSError, ValueError):
            return bool(json.loads(self._record.read_text()) == self._state(code))
        return False

    def begin(self) -> None:
        """See `LastBuild`."""
        with suppress(OSError):
            self._record.unlink()

    def keep(self, code: str, manifest: Path, invocation_id: str) -> None:
        """See `LastBuild`."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            if _relations(manifest, invocation_id) is not None:
                self._record.write_text(json.dumps(self._state(code)))

    def _state(self, code: str) -> list[object]:
        log = self._database.with_name(f"{self._database.name}.wal")
        files = [path.stat() for path in (self._database, log) if path.exists()]
        return [code, *([file.st_ino, file.st_size, file.st_mtime_ns] for file in files)]


class _OnLake(LastBuild):
    """See `LastBuild`. A build of another machine is a publication, too."""

    def __init__(self, profile: Profile) -> None:
        from loader.engines.lake import lake_of

        self._profile = profile
        self._lake = lake_of(profile)
        self._record = f"{profile.schema}/last_build.json"
        self._loaded: list[str] = []

    def is_current(self, code: str) -> bool:
        """See `LastBuild`."""
        record = self._lake.read(self._record)
        with suppress(ValueError):
            return record is not None and bool(json.loads(record) == self._state(code))
        return False

    def begin(self) -> None:
        """See `LastBuild`."""
        self._lake.delete(self._record)
        # What is loaded from now on, this build may have seen or not.
        self._loaded = self._entries()

    def keep(self, code: str, manifest: Path, invocation_id: str) -> None:  # noqa: ARG002
        """See `LastBuild`; deletes the builds that nobody reads any more."""
        from loader.engines.lake import tidy_builds

        if self._loaded == self._entries():
            self._lake.replace(self._record, json.dumps(self._state(code)).encode())
        tidy_builds(self._profile)

    def _entries(self) -> list[str]:
        return self._lake.names(f"{self._profile.raw_schema}/loads")[-1:]

    def _state(self, code: str) -> list[object]:
        publications = self._lake.names(f"{self._profile.schema}/published")
        return [code, self._entries(), publications[-1:], self._lake.location]
