"""What marts are made by: a digest of the project's files, variables, environment and versions.

Nothing here imports dbt.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from loader import __version__
from loader.project import PROFILES_FILE, PROJECT_FILE, Profile, Project, read_yaml

# What dbt reads unless dbt_project.yml names other folders; docs.getdbt.com, "dbt_project.yml".
# Not Python: a project with a model in it is built each time.
_FOLDERS = {
    *("analyses", "dbt_packages", "functions", "macros", "models", "seeds", "snapshots", "tests")
}
_SUFFIXES = (".csv", ".md", ".sql", ".yaml", ".yml")
# A call with a name in quotes, which is the second group, or with anything else.
_ENV_VAR = re.compile(rb"\benv_var\s*\(\s*(?:(['\"])(\w+)\1|[^\s)])")
_SECRET = re.compile("pass|secret|token|key", re.IGNORECASE)


def code_of(project: Project, profile: Profile, variables: str | None) -> str | None:
    """A digest of all that says how marts are made; None if it cannot be told what dbt reads.

    No password goes into it: the digest is kept where every reader of the marts can see it.
    """
    folders = set(_FOLDERS)
    settings = read_yaml(project.root / PROJECT_FILE)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key.endswith("-paths") or key == "packages-install-path":
            folders.update(map(str, value if isinstance(value, list) else [value]))
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
