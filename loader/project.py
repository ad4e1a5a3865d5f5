"""The dbt project that a call uses, and the connection that its profiles.yml describes.

The root is --project-dir (LABMART_PROJECT_DIR), else the nearest directory upwards with a
dbt_project.yml, else the clone that contains this package.

The profiles directory is the one that plain `dbt` would use in the root, so that both reach the
same database: DBT_PROFILES_DIR, else the root if it has a profiles.yml, else ~/.dbt if the
profiles.yml there has the project's profile. Without any of these, profiles.yml.example is copied
to profiles.yml in the root. An existing profiles.yml is never changed.

profiles.yml is YAML whose text values are Jinja templates. It is read without dbt, whose import
takes two seconds, too long for `labmart show`. The templates get what dbt documents for them
(docs.getdbt.com, "profiles.yml context"): `env_var`, `flags.PROFILES_DIR`, `local_md5`, and the
type filters, which leave the text unchanged, since every value is used as text here. A test
compares the result with `dbt debug`.
"""

from __future__ import annotations

import getpass
import hashlib
import os
import shutil
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TypeVar

import msgspec

from loader.errors import ConfigError, UsageError

PROJECT_FILE = "dbt_project.yml"
PROFILES_FILE = "profiles.yml"
EXAMPLE_FILE = "profiles.yml.example"
# models/staging/_sources.yml says the same to dbt.
RAW_SCHEMA_VARIABLE = "LABMART_RAW_SCHEMA"
_T = TypeVar("_T")
# msgspec 0.22 ends the process if two threads convert to a new type at the same time.
_CONVERTING = threading.Lock()


@dataclass(frozen=True)
class Project:
    """One dbt project on disk; all paths are absolute and free of symbolic links."""

    root: Path
    profiles_dir: Path

    @property
    def marts_file(self) -> Path:
        return self.root / "models" / "marts" / "_marts.yml"

    @property
    def sources_file(self) -> Path:
        return self.root / "models" / "staging" / "_sources.yml"

    @property
    def seeds(self) -> Path:
        return self.root / "seeds"

    @property
    def target(self) -> Path:
        """Where dbt leaves manifest.json and run_results.json."""
        return self.root / "target"


@dataclass(frozen=True)
class Profile:
    """One target of a profile. `values` are the rendered entries under dbt's own names.

    `raw_schema` holds the raw tables and the ledger. It does not depend on the target, so that the
    schemas of a developer and of CI read the same loads.
    """

    path: Path
    target: str
    engine: str
    values: Mapping[str, object]
    raw_schema: str = field(
        default_factory=lambda: os.environ.get(RAW_SCHEMA_VARIABLE) or "labmart_raw"
    )

    @property
    def schema(self) -> str:
        return self.text("schema")

    def with_schema(self, schema: str) -> Profile:
        """The same profile with another target schema."""
        return replace(self, values={**self.values, "schema": schema})

    @property
    def database(self) -> str:
        """The database's name; dbt accepts both spellings."""
        return self.text("dbname") or self.text("database")

    def text(self, key: str) -> str:
        """The entry as text; '' if absent."""
        value = self.values.get(key)
        return "" if value is None else str(value)


def write_project(folder: Path) -> None:
    """Write the dbt project that ships with labmart into a new or empty folder.

    Raises UsageError.
    """
    import tomllib

    package = Path(__file__).resolve().parent
    # In a wheel it is inside the package, in a clone around it.
    source = package / "dbt_project"
    if source.is_dir():
        parts = [path.name for path in source.iterdir()]
    else:
        source = package.parent
        document = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
        parts = document["tool"]["labmart"]["project"]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty. Name a new folder.")
        for part in parts:
            (folder / part).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if (source / part).is_dir() else shutil.copy
            copy(source / part, folder / part)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}.") from None


def open_project(named: Path | None = None) -> Project:
    """Find the project; create its profiles.yml from the example if dbt would find none.

    Raises UsageError and ConfigError.
    """
    here = Path.cwd()
    package_parent = Path(__file__).resolve().parent.parent
    for directory in [named.resolve()] if named else [here, *here.parents, package_parent]:
        if (directory / PROJECT_FILE).is_file():
            return Project(root=directory, profiles_dir=_profiles_dir(directory))
    where = str(named) if named else f"{here} or a folder above it"
    raise UsageError(
        f"No {PROJECT_FILE} in {where}: this is no labmart project. Go into yours, name it with "
        "--project-dir or LABMART_PROJECT_DIR, or begin one: `labmart init DIR`, or `labmart demo`."
    )


def read_yaml(path: Path) -> object:
    """A YAML file without its empty entries: `columns:` alone means no columns.

    Raises ConfigError if it is missing, unreadable or not YAML.
    """
    import yaml

    try:
        return _without_nulls(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(path, f"it cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(path, "it is not UTF-8 text.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or error
        raise ConfigError(path, f"it is not YAML{where}: {problem}.") from None


def _without_nulls(node: object) -> object:
    if isinstance(node, dict):
        return {key: _without_nulls(value) for key, value in node.items() if value is not None}
    return [_without_nulls(item) for item in node] if isinstance(node, list) else node


def converted(path: Path, place: str, node: object, kind: type[_T]) -> _T:
    """A value in a YAML file, converted to a type. Raises ConfigError, which gives its path."""
    try:
        with _CONVERTING:
            return msgspec.convert(node, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(path, f"{place}: {error}.") from None


def expanded(path: str) -> Path:
    """The path with `~` expanded. Raises UsageError if there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        home = path.partition("/")[0]
        raise UsageError(f"{path}: there is no home {home} here. Name the whole path.") from None


def person() -> str:
    """The account that runs the call."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        # A container may run under a numeric id without a name.
        return str(os.getuid())
    # LOGNAME and the like can be any bytes.
    return name.encode(errors="backslashreplace").decode()


def profile_name(root: Path) -> str:
    document = read_yaml(root / PROJECT_FILE)
    name = document.get("profile") if isinstance(document, dict) else None
    if not isinstance(name, str):
        raise ConfigError(root / PROJECT_FILE, "it names no profile. Add `profile: labmart`.")
    return name


def _profiles_dir(root: Path) -> Path:
    if named := os.environ.get("DBT_PROFILES_DIR"):
        # dbt resolves a relative path from where it is started, and labmart starts it in the root.
        directory = (root / expanded(named)).resolve()
        if not (directory / PROFILES_FILE).is_file():
            problem = "there is none, though DBT_PROFILES_DIR names its directory. Correct that."
            raise ConfigError(directory / PROFILES_FILE, problem)
        return directory
    if (root / PROFILES_FILE).exists():
        return root
    # A user without a name or HOME has none, and then the text is left unchanged.
    home = Path(os.path.expanduser("~/.dbt"))  # noqa: PTH111 -- Path raises for nobody's home
    if (home / PROFILES_FILE).is_file():
        document = read_yaml(home / PROFILES_FILE)
        if isinstance(document, dict) and profile_name(root) in document:
            return home.resolve()
    copy = root / PROFILES_FILE
    try:
        content = (root / EXAMPLE_FILE).read_bytes()
        # "x" fails on an existing file: of two concurrent first calls, the second changes nothing.
        with suppress(FileExistsError), copy.open("xb") as file:
            file.write(content)
            print(f"made {copy} from {EXAMPLE_FILE}", file=sys.stderr)
    except OSError as error:
        problem = f"it cannot be made from {EXAMPLE_FILE}: {error.strerror}."
        raise ConfigError(copy, problem) from None
    return root


class _Targets(msgspec.Struct, frozen=True):
    """A profile of the file."""

    target: str = "default"
    outputs: dict[str, dict[str, object]] = {}


def load_profile(project: Project, target: str | None = None) -> Profile:
    """Read the project's profile.

    `target` overrides the profile's default target. Raises ConfigError with the file, the entry and
    what to do.
    """
    path = project.profiles_dir / PROFILES_FILE
    name = profile_name(project.root)
    document = read_yaml(path)
    if not isinstance(document, dict) or name not in document:
        raise ConfigError(
            path, f"it has no profile {name!r}, which dbt_project.yml asks for. See {EXAMPLE_FILE}."
        )
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
    """A function (key, value) that renders a value; only text is changed."""
    import jinja2.sandbox

    environment = jinja2.sandbox.SandboxedEnvironment(undefined=jinja2.StrictUndefined)
    types = ("as_number", "as_bool", "as_native", "as_text")
    environment.filters |= dict.fromkeys(types, str)

    def env_var(name: str, default: str | None = None) -> str:
        value = os.environ.get(name, default)
        if value is None:
            raise ValueError(f"the environment variable {name} is not set")
        return value

    environment.globals |= {
        "env_var": env_var,
        "local_md5": lambda text: hashlib.md5(text.encode(), usedforsecurity=False).hexdigest(),
        "flags": SimpleNamespace(PROFILES_DIR=str(path.parent)),
    }

    def render(key: str, value: object) -> object:
        if isinstance(value, dict):
            return {inner: render(f"{key}.{inner}", item) for inner, item in value.items()}
        if isinstance(value, list):
            return [render(key, item) for item in value]
        if not isinstance(value, str):
            return value
        try:
            return environment.from_string(value).render()
        except Exception as error:  # A template may do anything.
            raise ConfigError(path, f"`{key}` cannot be rendered: {error}.") from None

    return render
