"""The project under test, and copies of it."""

from __future__ import annotations

import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# What a person's run leaves in the project, and what is large.
NOT_COPIED = (
    ".git",
    ".venv",
    ".labmart",
    "target",
    "logs",
    "profiles.yml",
    ".hypothesis",
    ".*_cache",
)


def copy_of_project(folder: Path) -> Path:
    """The project as a fresh clone has it, with the example's profiles.yml."""
    project = folder / "project"
    shutil.copytree(ROOT, project, ignore=shutil.ignore_patterns(*NOT_COPIED), symlinks=True)
    shutil.copy(project / "profiles.yml.example", project / "profiles.yml")
    return project


def loading_project(root: Path) -> Path:
    """As much of the project as a load needs."""
    (root / "models" / "staging").mkdir(parents=True)
    shutil.copy(ROOT / "dbt_project.yml", root)
    shutil.copy(ROOT / "profiles.yml.example", root / "profiles.yml")
    shutil.copy(ROOT / "models" / "staging" / "_sources.yml", root / "models" / "staging")
    return root
