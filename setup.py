"""The wheel brings the dbt project inside the package; everything else stands in pyproject.toml."""

from __future__ import annotations

import shutil
import tomllib
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithProject(build_py):
    """Copies what `tool.labmart.project` lists beside the modules. A clone has it around them."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        parts = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["labmart"]["project"]
        inside = Path(self.build_lib) / "loader" / "dbt_project"
        shutil.rmtree(inside, ignore_errors=True)
        for part in map(Path, parts):
            (inside / part).parent.mkdir(parents=True, exist_ok=True)
            copy = shutil.copytree if part.is_dir() else shutil.copy
            copy(part, inside / part)


setup(cmdclass={"build_py": BuildWithProject})
