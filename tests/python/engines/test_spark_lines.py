"""What the cluster reads by itself equals what the file's parser gives."""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from support.copy_text import Cells, rows_of
from support.random_delimited import delimited

from loader.engines import spark_lines
from loader.engines.spark_files import Folder
from loader.engines.spark_lines import ClusterLines, NotByLine, can_read
from loader.engines.spark_session import open_session
from loader.errors import FileRefused
from loader.files import LocalFile
from loader.files.content import content_of
from loader.parsers.delimited import DelimitedParser
from loader.parsers.dialect import ReadOptions
from loader.parsers.recognise import recognise
from loader.parsers.records import RejectedLine
from loader.profile import Profile
from loader.project import open_project
from loader.sources import read_inputs

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, Row

pytestmark = pytest.mark.slow

USERS = "user_id,name,email,signup_date\n"


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spark_lines, "LARGE", 0)


def reader_of(path: Path) -> DelimitedParser:
    inputs = read_inputs(open_project().sources_file)
    file = LocalFile(path.name, path, content=content_of(path))
    [parser] = recognise(file, inputs, ReadOptions())
    assert isinstance(parser, DelimitedParser)
    return parser


def by_definition(parser: DelimitedParser) -> tuple[dict[int, Cells], list[RejectedLine]]:
    rows: dict[int, Cells] = {}
    rejected: list[RejectedLine] = []
    for batch in parser.batches(7):
        rows |= dict(rows_of(batch.text, parser.delimiter, load_id=7))
        rejected += batch.rejected
    return rows, rejected


def by_cluster(
    spark: Profile, path: Path, parser: DelimitedParser
) -> tuple[dict[int, Cells], list[RejectedLine]]:
    out = path.with_name(f"{path.name}.out")
    with open_session(spark) as session:
        lines = ClusterLines(session, path, parser, 7)
        batches = list(lines.write(Folder(session, f"file://{out}")))
    names = ", ".join(f'"{name}"' for name in parser.columns)
    files = [str(file) for file in out.glob("*.parquet")]
    rows = duckdb.execute(
        f"select line, {names} from read_parquet(?, union_by_name = true)", [files]
    ).fetchall()
    found = {line: cells for line, *cells in rows}
    assert len(found) == len(rows) == sum(batch.records for batch in batches)
    rejected = [one for batch in batches for one in batch.rejected]
    return {line: tuple(cells) for line, cells in found.items()}, rejected


@pytest.mark.parametrize(
    "seed",
    [
        *range(40, 43),
        *(
            pytest.param(seed, marks=pytest.mark.prove("more of the same, seconds each"))
            for seed in range(43, 70)
        ),
    ],
)
def test_random_files_in_small_blocks(
    seed: int, spark: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    while True:
        data, _ = delimited(rng)
        # A CR alone, and what is no UTF-8, is left to the parser.
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        path = tmp_path / f"a {seed}[x]{{*}}.csv"
        path.write_bytes(data)
        try:
            parser = reader_of(path)
        except FileRefused:
            continue
        if can_read(parser, path) and len(data) > 1000:
            break
    # Blocks begin and end within lines, cells, characters and CRLF.
    monkeypatch.setattr(spark_lines, "_BLOCK", len(data) // rng.randint(5, 12))
    assert by_cluster(spark, path, parser) == by_definition(parser)


def test_odd_lines_in_many_blocks(
    spark: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(7)
    odd = (
        *(b"", b"too,few", b"5,a,b,c,d,e", b'6,"open,b,c', b'7,"x"y,b,c', b"8,a\0,b,c"),
        *(b"9,\xff\xfe,b,c", b'10,"two\nlines",b,c', b'11,"a ""b""",,', b"\xc2\xa0", b" \t"),
        *(b'12,"three\n\nlines"\r,b,c'.replace(b"\r", b""), "13,é,ü,→".encode()),
    )
    lines = []
    for number in range(3000):
        ends = rng.choice((b"\n", b"\n", b"\r\n"))
        plain = f"{number},Name {number},é@x,2024-01-01".encode()
        lines.append((rng.choice(odd) if rng.random() < 0.05 else plain) + ends)
    path = tmp_path / "users.csv"
    path.write_bytes(b"\xef\xbb\xbf" + "é\n".encode() + USERS.encode() + b"".join(lines))
    monkeypatch.setattr(spark_lines, "_BLOCK", 9973)
    parser = reader_of(path)
    found, rejected = by_cluster(spark, path, parser)
    wanted, by_rule = by_definition(parser)
    assert rejected == by_rule
    assert found == wanted
    assert {one.rule for one in rejected} >= {"broken_quoting", "nul_byte", "undecodable"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param("1,a\rb,c,d\n" * 5, id="a CR alone"),
        pytest.param("1,a,b,c\n" * 200_000 + "2,Müller,b,c\n", id="another encoding"),
    ],
)
def test_what_cannot_be_read_by_line_is_left_to_the_reader(
    body: str, spark: Profile, tmp_path: Path
) -> None:
    path = tmp_path / "users.csv"
    path.write_bytes((USERS + body).encode("cp1252"))
    with open_session(spark) as session, pytest.raises(NotByLine):
        ClusterLines(session, path, reader_of(path), 7)


def test_too_many_odd_lines_are_left_to_the_reader(
    spark: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "users.csv"
    path.write_text(USERS + "too,few\n" * 100)
    monkeypatch.setattr(spark_lines, "_MOST_LINES", 99)
    with open_session(spark) as session, pytest.raises(NotByLine):
        ClusterLines(session, path, reader_of(path), 7)


def test_a_second_table_is_refused_with_its_line(spark: Profile, tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text(USERS + "1,a,b,c\n" * 3 + "compound_id,compound_name,compound_structure\n")
    with (
        open_session(spark) as session,
        pytest.raises(FileRefused, match=r"users\.csv, line 5: a second table begins here"),
    ):
        ClusterLines(session, path, reader_of(path), 7)


def test_a_file_that_the_workers_do_not_see_is_left_to_the_reader(
    spark: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "users.csv"
    path.write_text(USERS + "1,a,b,c\n" * 3)
    parser = reader_of(path)
    asked = ClusterLines._asked

    def gone(self: ClusterLines, first: DataFrame) -> list[Row]:
        path.unlink()
        return asked(self, first)

    monkeypatch.setattr(ClusterLines, "_asked", gone)
    with open_session(spark) as session, pytest.raises(NotByLine):
        ClusterLines(session, path, parser, 7)
