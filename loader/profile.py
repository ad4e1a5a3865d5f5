"""The connection that profiles.yml describes, read as dbt reads it but without importing dbt.

Importing dbt takes about two seconds, too long for `labmart show`. profiles.yml is YAML whose
text values are Jinja templates. This module offers those templates what dbt documents for them:
`env_var`, `flags.PROFILES_DIR`, `local_md5`, and the filters of types (`as_number` and so on),
which leave the text as it is, since every value is used as text here. `var` is not supported. A
test holds the result against `dbt debug`. Source: docs.getdbt.com, "profiles.yml context".
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace

import msgspec

from loader.errors import ConfigError
from loader.project import PROFILES_FILE, Project, converted, profile_name, read_yaml

# models/staging/_sources.yml says the same to dbt.
RAW_SCHEMA_VARIABLE = "LABMART_RAW_SCHEMA"
DEFAULT_RAW_SCHEMA = "labmart_raw"


def _raw_schema() -> str:
    return os.environ.get(RAW_SCHEMA_VARIABLE) or DEFAULT_RAW_SCHEMA


@dataclass(frozen=True)
class Profile:
    """One target of a profile. `values` are the rendered entries under dbt's own names.

    `raw_schema` has the raw tables and the ledger. It does not follow the target, so that the
    schemas of a developer and of CI read the same loads.
    """

    path: Path
    target: str
    engine: str
    values: Mapping[str, object]
    raw_schema: str = field(default_factory=_raw_schema)

    @property
    def schema(self) -> str:
        return self.text("schema")

    def with_schema(self, schema: str) -> Profile:
        """The same with another target schema."""
        return replace(self, values={**self.values, "schema": schema})

    @property
    def database(self) -> str:
        """The database's name; dbt accepts both spellings."""
        return self.text("dbname") or self.text("database")

    def text(self, key: str) -> str:
        """The entry as text; an absent one is ''."""
        value = self.values.get(key)
        return "" if value is None else str(value)


class _Targets(msgspec.Struct, frozen=True):
    """A profile of the file."""

    target: str = "default"
    outputs: dict[str, dict[str, object]] = {}


def load_profile(project: Project, target: str | None = None) -> Profile:
    """Read the project's profile.

    `target` overrides the profile's own default target. Raises ConfigError with the file, the
    entry and what to do.
    """
    path = project.profiles_dir / PROFILES_FILE
    name = profile_name(project.root)
    document = read_yaml(path)
    if not isinstance(document, dict):
        raise ConfigError(path, "it is empty or not a mapping. See profiles.yml.example.")
    if name not in document:
        raise ConfigError(path, f"it has no profile {name!r}, which dbt_project.yml asks for.")
    profile = converted(path, name, document[name], _Targets)
    render = _renderer(path)
    chosen = target or str(render("target", profile.target))
    if chosen not in profile.outputs:
        raise ConfigError(
            path, f"there is no target {chosen!r}. The targets are: {', '.join(profile.outputs)}."
        )
    values = {key: render(key, value) for key, value in profile.outputs[chosen].items()}
    engine = values.get("type")
    if not isinstance(engine, str):
        raise ConfigError(path, f"target {chosen!r} has no `type`, such as `type: postgres`.")
    if values.get("schema") == "":
        raise ConfigError(path, f"`schema` of target {chosen!r} is empty (LABMART_SCHEMA).")
    return Profile(path=path, target=chosen, engine=engine, values=values)


def _renderer(path: Path) -> Callable[[str, object], object]:
    """A function (key, value) that renders a value; anything but text stays as it is."""
    import jinja2.sandbox

    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    types = ("as_number", "as_bool", "as_native", "as_text")
    environment.filters |= dict.fromkeys(types, str)

    def env_var(name: str, default: str | None = None) -> str:
        value = os.environ.get(name, default)
        if value is None:
            raise ValueError(f"the environment variable {name} is not set")
        return value

    def var(*_: object) -> str:
        raise ValueError("labmart does not support `var` here. Use `env_var`")

    def local_md5(value: str) -> str:
        return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()

    flags = SimpleNamespace(PROFILES_DIR=str(path.parent))
    names = {"env_var": env_var, "var": var, "local_md5": local_md5, "flags": flags}

    def render(key: str, value: object) -> object:
        if isinstance(value, dict):
            return {inner: render(f"{key}.{inner}", item) for inner, item in value.items()}
        if isinstance(value, list):
            return [render(key, item) for item in value]
        if not isinstance(value, str):
            return value
        try:
            return environment.from_string(value).render(names)
        except Exception as error:  # A template may do anything.
            raise ConfigError(path, f"`{key}` cannot be rendered: {error}.") from None

    return render
