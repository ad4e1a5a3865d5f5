"""Workbooks that are damaged, or made to do harm: a sentence, and soon."""

from __future__ import annotations

import resource
import signal
import subprocess
import zipfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from support.workbooks import ods_cell, ods_parts, ods_table, rows_of, write_zip, xlsx_parts

from loader.errors import FileRefused
from loader.parsers import sheets
from loader.parsers.sheets import workbook_sheets

LAUGHS = (
    '<!DOCTYPE x [<!ENTITY a "lol">'
    + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(10))
    + "]>"
)
ROW = '<row r="{0}"><c r="A{0}"><v>{0}</v></c></row>'


@pytest.fixture(autouse=True)
def soon() -> Iterator[None]:
    """Nothing here may keep a person waiting (processor time: the machine may be busy)."""
    started = processor_time()
    yield
    assert processor_time() - started < 10


def processor_time() -> float:
    """Seconds that this process and its children have taken."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def read(path: Path, format_: str = "xlsx") -> int:
    """How many rows all sheets have."""
    return sum(1 for sheet in workbook_sheets(path, "f", format_) for _ in sheet.rows())


def refusal(path: Path, format_: str = "xlsx") -> str:
    with pytest.raises(FileRefused) as found:
        read(path, format_)
    said = str(found.value)
    assert said.startswith(f"f: this {format_} file is not read. ")
    assert said.endswith(".")
    assert "\n" not in said
    return said


def made(tmp_path: Path, data: str, shared: str = "") -> Path:
    """A workbook with this XML inside of its `sheetData`."""
    return write_zip(tmp_path / "a", xlsx_parts(data, shared=shared))


def test_a_value_in_the_last_cell_of_a_sheet_takes_no_memory(tmp_path: Path) -> None:
    last = ROW.format(1) + '<row r="1048576"><c r="XFD1048576"><v>2</v></c></row>'
    (sheet,) = workbook_sheets(made(tmp_path, last), "f", "xlsx")
    rows = [(number, len(cells), cells[-1]) for number, cells in rows_of(sheet)]
    assert rows == [(1, 1, "1"), (1048576, 16384, "2")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('<row><c r="XFE1"><v>1</v></c></row>', "'XFE' is no column"),
        ('<row><c r="ZZZZZZZZZZZZ1"><v>1</v></c></row>', "no column"),
        ('<row><c r="é1"><v>1</v></c></row>', "no column"),
        ('<row r="1048577"><c><v>1</v></c></row>', "row 1,048,577"),
        ('<row r="99999999999"><c><v>1</v></c></row>', "row 99,999,999,999"),
        ('<row><c t="s"><v>5</v></c></row>', "the shared text 5"),
        ('<row><c t="s"><v>x</v></c></row>', "It is damaged"),
        ("<row><c><v>1</v></row>", "mismatched tag"),
        ("&a;", "undefined entity"),
        # More text than a row may have.
        ('<row r="7">' + '<c t="s"><v>0</v></c>' * 1000 + "</row>", "row 7"),
    ],
)
def test_a_sheet_that_claims_the_impossible_is_refused(
    tmp_path: Path, data: str, words: str
) -> None:
    shared = f"<si><t>{'x' * 10000}</t></si>"
    assert words in refusal(made(tmp_path, data, shared))


@pytest.mark.parametrize(
    "part", ["xl/worksheets/sheet1.xml", "xl/sharedStrings.xml", "_rels/.rels"]
)
def test_entities_are_never_expanded(tmp_path: Path, part: str) -> None:
    parts = xlsx_parts('<row><c t="s"><v>0</v></c></row>', shared="<si><t>&j;</t></si>")
    head, declaration, body = parts[part].rpartition("?>")
    parts[part] = head + declaration + LAUGHS + body.replace("><", ">&j;<", 1)
    assert "amplification" in refusal(write_zip(tmp_path / "a", parts))
    content = ods_parts(ods_table(ods_cell("&j;")), prolog=LAUGHS)
    assert "amplification" in refusal(write_zip(tmp_path / "b", content), "ods")


def test_no_file_of_the_machine_can_be_drawn_in(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    prolog = f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>'
    row = f"<table:table-row>{ods_cell('&e;')}</table:table-row>"
    content = ods_parts(ods_table(row), prolog=prolog)
    assert "undefined entity" in refusal(write_zip(tmp_path / "b", content), "ods")


@pytest.mark.parametrize("format_", ["xlsx", "ods"])
def test_a_part_that_unpacks_to_gigabytes_is_not_unpacked(tmp_path: Path, format_: str) -> None:
    parts = xlsx_parts(ROW.format(1)) if format_ == "xlsx" else ods_parts(ods_table(""))
    name = "xl/worksheets/sheet1.xml" if format_ == "xlsx" else "content.xml"
    parts.pop(name)
    path = write_zip(tmp_path / "a", parts)
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open(name, "w") as part,
    ):
        for _ in range(80):
            part.write(b" " * (1 << 20))
    assert f"Its part {name} would unpack" in refusal(path, format_)


REPEATED = '<table:table-row table:number-rows-repeated="{}">{}</table:table-row>'
WIDE = ods_cell("x", 'office:value-type="string" table:number-columns-repeated="16384"')
BEYOND = '<table:table-cell table:number-columns-repeated="99999999"/>' + ods_cell("x")
EMPTY = REPEATED.format(10**9, "<table:table-cell/>")


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (EMPTY + REPEATED.format(1, ods_cell("x")), "row 1,000,000,001"),
        (REPEATED.format(10**9, ods_cell("x")), "1,000,000,000 times"),
        (REPEATED.format(1 << 20, WIDE), "1,048,576 times"),
        (REPEATED.format(1, WIDE * 2), "right of column 16,384"),
        (REPEATED.format(1, BEYOND), "right of column 16,384"),
        (EMPTY, ""),
    ],
)
def test_rows_repeated_without_end_are_refused_or_passed_over(
    tmp_path: Path, rows: str, words: str
) -> None:
    path = write_zip(tmp_path / "a.ods", ods_parts(ods_table(rows)))
    if words:
        assert words in refusal(path, "ods")
    else:
        assert read(path, "ods") == 0


def test_one_text_that_a_million_cells_show_is_not_copied_a_million_times(tmp_path: Path) -> None:
    cells = '<row><c t="s"><v>0</v></c></row>' * 400
    (sheet,) = workbook_sheets(
        made(tmp_path, cells, f"<si><t>{'x' * (7 << 20)}</t></si>"), "f", "xlsx"
    )
    assert len(next(sheet.rows())[1][0] or "") == 7 << 20


def test_deep_nesting_ends_in_a_sentence_or_in_nothing(tmp_path: Path) -> None:
    deep = "<a>" * 500_000 + "</a>" * 500_000
    assert read(made(tmp_path, deep + ROW.format(1))) == 1


END = "os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize(
    ("child", "words"),
    [
        (END.format("SIGKILL"), "memory ran out"),
        (END.format("SIGSEGV"), "broke off (signal 11)"),
        ("resource.setrlimit(resource.RLIMIT_CPU, (1, 9))\nwhile True: pass", "takes too long"),
        ("print('no json', flush=True)", "broke off (exit code 0)"),
        ("print('[1]', flush=True)", "broke off"),
        ("print('{\"rows\": 5}', flush=True)", "broke off"),
        ("raise SystemExit(3)", "exit code 3"),
        (
            "import sys\nfrom loader.parsers import workbook_child as child\n"
            "child.MEMORY = 100 << 20\nsys.exit(child.main(sys.argv[1:]))",
            "of memory",
        ),
    ],
)
def test_a_child_that_ends_without_a_word_is_a_refusal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, child: str, words: str
) -> None:
    (tmp_path / "other_child.py").write_text(f"import os, resource, signal\n{child}\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(sheets, "_CHILD", "other_child")
    cell = f'<c t="inlineStr"><is><t>{"x" * (60 << 20)}</t></is></c>' if "MEMORY" in child else ""
    assert words in refusal(made(tmp_path, f"<row>{cell}</row>"))


def test_a_reading_that_is_left_early_leaves_no_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    begin = subprocess.Popen

    def remember(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
        started.append(begin(*arguments, **options))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", remember)
    path = made(tmp_path, "".join(map(ROW.format, range(1, 100_000))))
    (sheet,) = workbook_sheets(path, "f", "xlsx")
    rows = sheet.rows()
    assert isinstance(rows, Generator)
    for _ in range(150):
        next(rows)
    assert [process.poll() for process in started[1:]] == [None]
    rows.close()
    assert len(started) == 2
    assert started[1].returncode == -signal.SIGKILL


def test_passwords_and_other_formats_are_told(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1000))
    assert "It is damaged" in refusal(tmp_path / "a", "xls")
    manifest = '<manifest:manifest><manifest:encryption-data manifest:checksum="x"/>'
    parts = {"META-INF/manifest.xml": manifest, "content.xml": "\x80\x81"}
    assert "password" in refusal(write_zip(tmp_path / "a", parts), "ods")
    path = made(tmp_path, ROW.format(1))
    content = bytearray(path.read_bytes())
    at = content.find(b"PK\x01\x02")
    while at >= 0:
        content[at + 8] |= 1
        at = content.find(b"PK\x01\x02", at + 1)
    path.write_bytes(content)
    assert "password" in refusal(path)
    assert "content.xml" in refusal(write_zip(tmp_path / "a", {"x": ""}), "ods")
    assert "workbook.xml" in refusal(write_zip(tmp_path / "a", {"x": ""}))


def test_a_file_that_is_gone_or_closed_is_a_sentence(tmp_path: Path) -> None:
    for format_ in ("xlsx", "ods", "xls"):
        assert "No such file" in refusal(tmp_path / "none", format_)
        assert "directory" in refusal(tmp_path, format_)


def test_a_workbook_is_read_from_any_name(tmp_path: Path) -> None:
    path = made(tmp_path, ROW.format(1))
    for name in ("-x", "it's \n*?", "ü"):
        path = path.rename(tmp_path / name)
        assert read(path) == 1
