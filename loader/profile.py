"""The connection that profiles.yml describes, read as dbt reads it but without importing dbt.

Importing dbt takes about two seconds, too long for `labmart show`. profiles.yml is YAML whose
text values are Jinja templates. This module offers those templates what dbt documents for them:
`env_var`, `flags.PROFILES_DIR`, `target` selection, `local_md5`, and the filters `as_number`,
`as_native`, `as_bool`, `as_text`. `var` is not supported. A test holds the result against
`dbt debug`. Source: docs.getdbt.com, "profiles.yml context".
"""

from __future__ import annotations

import hashlib
import os
from ast import literal_eval
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from loader.errors import ConfigError
from loader.project import PROFILES_FILE, Project, profile_name, read_yaml

if TYPE_CHECKING:
    import jinja2


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

    @property
    def earlier_raw_schema(self) -> str | None:
        """Where raw tables were while they followed the target.

        None if that is where they are, or if LABMART_RAW_SCHEMA says where they are.
        """
        earlier = f"{self.schema}_raw"
        if os.environ.get(RAW_SCHEMA_VARIABLE) or earlier == self.raw_schema:
            return None
        return earlier

    @property
    def database(self) -> str:
        """The database's name; dbt accepts both spellings."""
        return self.text("dbname") or self.text("database")

    def text(self, key: str) -> str:
        """The entry as text; an absent one is ''."""
        value = self.values.get(key)
        return "" if value is None else str(value)


def load_profile(project: Project, target: str | None = None) -> Profile:
    """Read the project's profile.

    `target` overrides the profile's own default target. Raises ConfigError with the file, the
    entry and what to do.
    """
    path = project.profiles_dir / PROFILES_FILE
    name = profile_name(project.root)
    document = _mapping(read_yaml(path), path, "the file")
    if name not in document:
        raise ConfigError(path, f"it has no profile {name!r}, which dbt_project.yml asks for.")
    profile = _mapping(document[name], path, f"profile {name!r}")
    render = _renderer(path)
    chosen = target or str(render("target", profile.get("target", "default")))
    outputs = _mapping(profile.get("outputs"), path, f"`outputs` of profile {name!r}")
    if chosen not in outputs:
        raise ConfigError(
            path, f"there is no target {chosen!r}. The targets are: {', '.join(outputs)}."
        )
    output = _mapping(outputs[chosen], path, f"target {chosen!r}")
    values = {key: render(key, value) for key, value in output.items()}
    engine = values.get("type")
    if not isinstance(engine, str):
        raise ConfigError(path, f"target {chosen!r} has no `type`, such as `type: postgres`.")
    return Profile(path=path, target=chosen, engine=engine, values=values)


def _mapping(value: object, path: Path, what: str) -> dict[str, object]:
    if not isinstance(value, dict):
        raise ConfigError(path, f"{what} is empty or not a mapping. See profiles.yml.example.")
    return {str(key): item for key, item in value.items()}


class _Marked(str):
    """Text that a filter asked to be read as a Python value."""


class _Text(str):
    """Text that stays text."""


class _Number(_Marked):
    pass


class _Bool(_Marked):
    pass


def _renderer(path: Path) -> Callable[[str, object], object]:
    """A function (key, value) that renders a value; anything but text stays as it is."""
    import jinja2.sandbox

    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    # The finished output is what NativeCodeGenerator would join: pieces, kept with their types.
    environment.code_generator_class = _native_generator()
    environment.filters.update(as_number=_Number, as_bool=_Bool, as_native=_Marked, as_text=_Text)
    names = _context(path)

    def render(key: str, value: object) -> object:
        if isinstance(value, dict):
            return {inner: render(f"{key}.{inner}", item) for inner, item in value.items()}
        if isinstance(value, list):
            return [render(key, item) for item in value]
        if not isinstance(value, str):
            return value
        try:
            template = environment.from_string(value)
            pieces: list[object] = list(template.root_render_func(template.new_context(names)))
            if pieces and isinstance(pieces[0], jinja2.Undefined):
                str(pieces[0])  # Raises, and says which name is unknown.
            return _join(pieces)
        except ConfigError as error:
            raise ConfigError(path, f"`{key}`: {error.problem}") from None
        except (jinja2.TemplateError, TypeError, ValueError) as error:
            raise ConfigError(path, f"`{key}` cannot be rendered: {error}.") from None

    return render


def _native_generator() -> type[jinja2.compiler.CodeGenerator]:
    from jinja2.nativetypes import NativeCodeGenerator

    return NativeCodeGenerator


def _context(path: Path) -> dict[str, object]:
    def env_var(name: str, default: str | None = None) -> str:
        value = os.environ.get(name, default)
        if value is None:
            raise ConfigError(path, f"the environment variable {name} is not set. Set it.")
        return value

    def var(*_: object) -> str:
        raise ConfigError(path, "labmart does not support `var` here. Use `env_var`.")

    def local_md5(value: str) -> str:
        return hashlib.md5(value.encode(), usedforsecurity=False).hexdigest()

    flags = SimpleNamespace(PROFILES_DIR=str(path.parent))
    return {"env_var": env_var, "var": var, "local_md5": local_md5, "flags": flags}


def _join(pieces: Sequence[object]) -> object:
    """What the pieces of one rendered template amount to (dbt: `quoted_native_concat`)."""
    if not pieces:
        return ""
    if len(pieces) > 1:
        return "".join(str(piece) for piece in pieces)
    only = pieces[0]
    if isinstance(only, _Text):
        return str(only)
    if not isinstance(only, _Marked):
        return only
    try:
        value = cast("object", literal_eval(only))
    except (ValueError, SyntaxError):
        value = str(only)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(only, _Number) and not is_number:
        raise ValueError(f"{str(only)!r} is not a number")
    if isinstance(only, _Bool) and not isinstance(value, bool):
        raise ValueError(f"{str(only)!r} is neither True nor False")
    return value
