"""Break every rule in the SQL on purpose and see a test fail.

Usage: python tests/mutants/run.py [PART OF A NAME]

Copies the project, applies one mutant of mutants.toml at a time and runs `dbt build` on the sample
laboratory in a schema of its own, on the database that profiles.yml names. Prints which test caught
which mutant; exits with 1 if one survives. Takes some ten seconds per mutant.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS_OF_THE_PROJECT = (
    "dbt_project.yml",
    "profiles.yml",
    "models",
    "macros",
    "seeds",
    "tests",
)
SCHEMA = "labmart_mutants"


@dataclass(frozen=True)
class Mutant:
    """One rule broken: in `file`, `replace` becomes `replacement`."""

    name: str
    file: str
    replace: str
    replacement: str

    def apply(self, project: Path) -> None:
        """Change the file in place; raises ValueError if the text is not there exactly once."""
        path = project / self.file
        text = path.read_text(encoding="utf-8")
        if (found := text.count(self.replace)) != 1:
            raise ValueError(
                f"{self.name}: {self.replace!r} stands {found} times in {self.file}, not once"
            )
        path.write_text(text.replace(self.replace, self.replacement), encoding="utf-8")


def load_mutants() -> list[Mutant]:
    """All mutants of mutants.toml."""
    text = (ROOT / "tests/mutants/mutants.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)["mutant"]
    return [Mutant(e["name"], e["file"], e["replace"], e["with"]) for e in entries]


def failures(project: Path) -> list[str]:
    """Names of the tests and models that fail in `dbt build`; empty when all is green."""
    dbt = shutil.which("dbt", path=str(Path(sys.executable).parent)) or "dbt"
    command = [dbt, "--no-use-colors", "build", "--vars", "{sample_lab: true}"]
    command += ["--profiles-dir", os.environ.get("DBT_PROFILES_DIR", str(ROOT))]
    done = subprocess.run(
        command,
        cwd=project,
        env={
            **os.environ,
            "LABMART_SCHEMA": SCHEMA,
            "LABMART_RAW_SCHEMA": f"{SCHEMA}_raw",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 0:
        return []
    found = re.findall(r"(?:FAIL \d+|ERROR(?: creating \w+ \w+ model)?) (\S+)", done.stdout)
    return list(dict.fromkeys(found)) or [done.stdout.strip().splitlines()[-1]]


def main() -> int:
    """Run the mutants whose name contains the argument; 1 if one survives."""
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    survivors = 0
    with tempfile.TemporaryDirectory() as scratch:
        for mutant in load_mutants():
            if wanted not in mutant.name:
                continue
            project = Path(scratch) / "project"
            for part in PARTS_OF_THE_PROJECT:
                source = ROOT / part
                if source.is_dir():
                    shutil.copytree(source, project / part, dirs_exist_ok=True)
                else:
                    project.mkdir(exist_ok=True)
                    shutil.copy(source, project / part)
            mutant.apply(project)
            caught_by = failures(project)
            survivors += not caught_by
            print(f"{mutant.name}: {', '.join(caught_by[:3]) or 'SURVIVED'}", flush=True)
    print(f"{survivors} survived")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
