"""Checks the project's YAML against dbt's own JSON schemas; dbt alone is silent about a typo.

    python tests/python/support/yaml_gate.py [PROJECT_DIR [TARGET_DIR]]

dbt-core 1.11 has the schemas but looks only when the adapter is one of four, and PostgreSQL,
DuckDB and Spark are not among them. Here they are added before dbt starts. It also leaves out keys
that stand deeper in a config (`contract: {enforcd: true}`); here they are found. dbt keeps much of
its state in globals: call this file as a process of its own, do not import it where dbt runs.

Every warning of `dbt parse` is a fault, so that a misspelt path in dbt_project.yml is one as well.
All faults are printed; exit code 1 if there is any. TARGET_DIR gets what dbt writes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dbt.version
from dbt.cli.main import dbtRunner
from dbt.jsonschemas import jsonschemas
from jsonschema import ValidationError

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

# The set below is private to dbt: another version may check elsewhere, or check all adapters.
DBT_VERSION = "1.11.16"
ADAPTERS = {"duckdb", "postgres", "spark"}
# Ends each list of deprecations; it only tells how many there were.
SUMMARIES = {"DeprecationsSummary"}


def faults(project: Path, target: str) -> list[str]:
    """What is wrong with the YAML of the project in this directory, one line each."""
    found: list[str] = []
    check_strictly(found)

    def keep_fault(event: EventMsg) -> None:
        info: Any = event.info  # made by protobuf, which declares no attributes
        if info.level in ("warn", "error") and info.name not in SUMMARIES:
            # dbt breaks its sentences where a terminal would.
            words = " ".join(info.msg.split())
            found.append(words.partition("]: Deprecated functionality ")[2] or words)

    options = ["--quiet", "--no-use-colors", "--no-partial-parse", "--show-all-deprecations"]
    places = ["--project-dir", str(project), "--target-path", target, "--log-path", target]
    result = dbtRunner(callbacks=[keep_fault]).invoke(["parse", *options, *places])
    if not result.success and not found:
        found.append(str(result.exception))
    return list(dict.fromkeys(found))


def check_strictly(found: list[str]) -> None:
    """Let dbt check YAML with every adapter, and collect the unknown keys that it leaves out.

    Raises SystemExit with a dbt version that may be made otherwise inside.
    """
    if dbt.version.installed.to_version_string(skip_matcher=True) != DBT_VERSION:
        raise SystemExit(
            f"yaml_gate.py is made for dbt-core {DBT_VERSION}. See whether the new version checks "
            "YAML with every adapter (then this file can go), or where its list of adapters is now."
        )
    jsonschemas._JSONSCHEMA_SUPPORTED_ADAPTERS.update(ADAPTERS)
    checked_by_dbt = jsonschemas.jsonschema_validate

    def check(schema: dict[str, Any], json: dict[str, Any], file_path: str) -> None:
        for error in jsonschemas._validate_with_schema(schema, json):
            found.extend(f"{fault} in file `{file_path}`." for fault in unknown_keys_below(error))
        checked_by_dbt(schema, json, file_path)

    jsonschemas.jsonschema_validate = check


def unknown_keys_below(error: ValidationError) -> Iterator[str]:
    """Unknown keys that stand deeper than the error.

    Those at its own place are left to dbt: there, each alternative of the schema that was not
    meant (a test named by `test_name`, say) finds unknown keys as well.
    """

    def causes(parent: ValidationError) -> Iterator[ValidationError]:
        for cause in parent.context or []:
            yield cause
            yield from causes(cause)

    for cause in causes(error):
        path = list(cause.absolute_path)
        if cause.validator == "additionalProperties" and len(path) > len(error.absolute_path):
            yield f"{cause.message} at `{'.'.join(map(str, path))}`"


def main() -> int:
    """Print the faults of the project named in the first argument, else of this one."""
    project = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[3]
    with tempfile.TemporaryDirectory() as folder:
        found = faults(project, sys.argv[2] if len(sys.argv) > 2 else folder)
    print("\n".join(found), end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
