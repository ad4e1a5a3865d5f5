"""The specification: what _sources.yml must say, and which headers mean an input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.project import ROOT

from loader.errors import ConfigError
from loader.parsers.headers import match_header
from loader.sources import CellFormats, Input, InputColumn, header_key, read_inputs

# Each round has types that nobody has converted to; without turns a thread dies within a few.
FIRST_AT_ONCE = """
import sys, threading
from pathlib import Path
from msgspec import defstruct
from loader.project import converted

sys.setswitchinterval(1e-6)
node = [{"name": "x", "columns": [{"name": "y", "meta": {"a": "1"}}]}]
for _ in range(400):
    meta = defstruct("Meta", [("a", str), ("b", dict[str, str], {})])
    column = defstruct("Column", [("name", str), ("meta", meta)])
    table = defstruct("Table", [("name", str), ("columns", list[column])])
    gate = threading.Barrier(3)
    convert = lambda: (gate.wait(), converted(Path("a.yml"), "tables", node, list[table]))
    threads = [threading.Thread(target=convert) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print("converted")
"""

INPUTS = read_inputs(ROOT / "models" / "staging" / "_sources.yml")
INPUT_META = {"meta": {"input": True, "natural_key": "id"}}


def column(name: object, **meta: object) -> dict[str, object]:
    return {"name": name, "data_type": "text", "config": {"meta": meta}}


def table(*columns: object, **values: object) -> dict[str, object]:
    return {"name": "plates", "config": INPUT_META, "columns": list(columns), **values}


def written(tmp_path: Path, *tables: object) -> Path:
    path = tmp_path / "_sources.yml"
    path.write_text(yaml.safe_dump({"sources": [{"name": "raw", "tables": list(tables)}]}))
    return path


def test_the_inputs_are_the_tables_that_say_so_without_the_loaders_own_columns() -> None:
    assert {entry.name: entry.column_names for entry in INPUTS} == {
        "users": ("user_id", "name", "email", "signup_date"),
        "user_experiments": (
            "experiment_id",
            "user_id",
            "experiment_compound_ids",
            "experiment_run_time",
        ),
        "compounds": ("compound_id", "compound_name", "compound_structure"),
    }


def test_a_column_says_whether_it_is_required_and_how_it_is_called(tmp_path: Path) -> None:
    columns = (
        column("id", required=True, header_names=["Plate No.", "ID-Nummer", 7]),
        {"name": "well", "data_type": "text"},
        column("note", required=False),
    )
    (plates,) = read_inputs(written(tmp_path, table(*columns)))
    assert [one.required for one in plates.columns] == [True, True, False]
    assert plates.columns[0].names == {"id", "plate_no", "id_nummer", "7"}


def test_what_cells_look_like_is_said_once_for_an_input(tmp_path: Path) -> None:
    meta = {**INPUT_META["meta"], "decimal": "comma", "id_prefix": "EXP-", "durations": "h"}
    (plates,) = read_inputs(written(tmp_path, table(column("id"), config={"meta": meta})))
    assert plates.formats == CellFormats(decimal="comma", id_prefix="EXP-", durations="h")
    said = CellFormats(decimal="point", dates="DMY").or_else(plates.formats)
    assert said == CellFormats(decimal="point", dates="DMY", id_prefix="EXP-", durations="h")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (table(column("id"), column("id")), "plates.id: two columns have this"),
        (table(column("well")), "needs a `natural_key` among its columns"),
        (table(column("id"), column(" - ")), "plates. - : a column has a name of 1 to 63 bytes"),
        (table(column("id"), column("x" * 64)), "x: a column has a name of 1 to 63 bytes"),
        (table(column("id"), {"name": "x", "data_type": "bigint"}), "plates.x: the `data_type`"),
        (table(column("id"), {"name": "x"}), "plates.x: the `data_type` of a loaded cell is text"),
        (
            table(column("id", header_names="plate")),
            "sources: Expected `array`, got `str` - at `$[0].tables[0].columns[0].config.meta",
        ),
        (
            table(column("id"), config={"meta": {"input": "yes"}}),
            "Expected `bool`, got `str` - at `$[0].tables[0].config.meta.input`",
        ),
        (
            table(column("id"), config={"meta": {**INPUT_META["meta"], "decimal": "point "}}),
            "the input plates: decimal is comma or point, not 'point '",
        ),
        (table(column("id"), config=None), "no table has `config: {meta: {input: true}}`"),
        (table(column("id"), name="loads"), "there is more than one table loads, or it is the"),
        ("plates", "sources: Expected `object`, got `str` - at `$[0].tables[0]`"),
    ],
)
def test_what_is_wrong_with_a_declaration_is_said_with_its_place(
    tmp_path: Path, entry: object, says: str
) -> None:
    assert says in refusal(written(tmp_path, entry))


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as refused:
        read_inputs(path)
    assert str(refused.value).startswith(str(path))
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        *(
            (text, "it has no list `sources:`")
            for text in ("", "sources: raw\n", "- sources\n", "7\n")
        ),
        *((text, "") for text in ("sources: [", "\tx", "a: b: c")),
    ],
)
def test_a_file_without_sources_or_yaml_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "_sources.yml"
    path.write_text(text)
    assert says in refusal(path)


def test_case_padding_and_what_stands_between_words_make_no_difference() -> None:
    same = ["user_id", "User ID", "USER-ID", " user_id ", "\ufeffuser_id", "user.id", "User  Id"]
    same += ["\u00a0user_id\t", "_user_id_", "user\nid", "uSER _ iD", "user-_-id"]
    assert {cell: header_key(cell) for cell in same} == dict.fromkeys(same, "user_id")
    for other in ("userid", "user_ids", "user/id", "üser_id", "user_id2", "1user_id"):
        assert header_key(other) != "user_id"


USERS = ("user_id", "name", "email", "signup_date")


@pytest.mark.parametrize(
    ("header", "means"),
    [
        (
            "note,Signup,E-Mail,,Full Name,UID",
            {"users": (None, "signup_date", "email", None, "name", "user_id")},
        ),
        # One without a required column, or with a name twice, means nothing.
        *((header, {}) for header in ("user_id,email,signup_date", "", ",,,")),
        ("user_id,name,email,signup_date,User ID", {}),
        ("uid,user,name,email,signup_date", {}),
        # The declared name goes before another one for the same.
        ("uid,user_id,name,email,signup_date", {"users": (None, *USERS)}),
        (
            "user_id,name,email,signup_date,compound_id,compound_name,structure",
            {
                "users": (*USERS, *[None] * 3),
                "compounds": (*[None] * 4, "compound_id", "compound_name", "compound_structure"),
            },
        ),
    ],
)
def test_a_header_means_the_inputs_whose_columns_it_names(
    header: str, means: dict[str, tuple[str | None, ...]]
) -> None:
    found = match_header(header.split(","), INPUTS)
    assert {match.input.name: match.columns for match in found} == means


def optional(name: str, *others: str) -> InputColumn:
    return InputColumn(name, False, frozenset({name, *others}))


def test_optional_columns_may_be_absent_but_not_all_of_them() -> None:
    notes = Input("notes", (optional("id"), optional("text", "note")))
    assert [match.columns for match in match_header(["note"], [notes])] == [("text",)]
    assert match_header(["other"], [notes]) == []
    assert match_header(["text", "text"], [notes]) == []
    # One cell is never two columns.
    pairs = Input("pairs", (optional("first", "value"), optional("second", "value")))
    assert [match.columns for match in match_header(["value", "x"], [pairs])] == [("first", None)]


def test_threads_may_be_the_first_to_convert_to_a_type_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_AT_ONCE], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "converted\n"), done.stderr
