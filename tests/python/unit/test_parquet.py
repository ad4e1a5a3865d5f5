"""Parquet: every value as text, in the order of the file, and nothing else within reach."""

from __future__ import annotations

import base64
import gc
import random
import tempfile
from pathlib import Path

import duckdb
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
from support.workbooks import rows_of

from loader.errors import FileRefused
from loader.parsers.parquet import sheet


def write(path: Path, query: str, options: str = "") -> Path:
    target = str(path).replace("'", "''")
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'Asia/Tokyo'")
        connection.execute(f"copy ({query}) to '{target}' (format parquet {options})")
    return path


def rows(path: Path) -> list[tuple[int, list[str | None]]]:
    return rows_of(sheet(path, "p.parquet"))


VALUES = [
    ("1", "1"),
    ("9223372036854775807", "9223372036854775807"),
    ("7.0::double", "7.0"),
    ("0.1::double + 0.2::double", "0.30000000000000004"),
    ("1e20::double", "1E+20"),
    ("-1.5e-7::double", "-0.00000015"),
    ("0.1::float", "0.1"),
    ("'nan'::double", "nan"),
    ("12.50::decimal(10, 2)", "12.50"),
    ("12345678901234567890.10::decimal(38, 2)", "12345678901234567890.10"),
    ("''", ""),
    ("null::varchar", None),
    ("null::int[]", None),
    ("null::blob", None),
    ("'007'", "007"),
    ("' é\n😀\t'", " é\n😀\t"),
    ("date '2023-01-01'", "2023-01-01"),
    ("timestamp '2023-01-01 08:30:00'", "2023-01-01 08:30:00"),
    ("timestamptz '2023-01-01 08:30:00+02'", "2023-01-01 06:30:00+00"),
    ("time '08:30'", "08:30:00"),
    ("true", "true"),
    ("'text'::blob", "text"),
    ("'\\xC3\\xA9'::blob", "é"),
    ("'\\xFFa'::blob", "\\xffa"),
    ("[1, null, 2]", "1;;2"),
    ("[[1, null], null]", "[1,null];"),
    ("[1.5::double, 1e17::double]", "1.5;1e+17"),
    ("[{'a': 1}]", '{"a":1}'),
    ("[1, 2]::int[2]", "1;2"),
    ("[]::int[]", ""),
    ("[null]::int[]", ""),
    ("123456789012345678::double", "1.23457E+17"),
    ("123456789012345::double", "123456789012345.0"),
    ("123456789012345678", "123456789012345678"),
    ("123456789::float", "1.23457E+08"),
    ("1234567::float", "1234567.0"),
    ("{'a': 1, 'b': [{'c': 'x\"'}]}", '{"a":1,"b":[{"c":"x\\""}]}'),
    ("map {'k': 1.5::decimal(3, 2)}", '{"k":1.5}'),
    ("'00000000-0000-0000-0000-000000000001'::uuid", "00000000-0000-0000-0000-000000000001"),
]


def test_a_value_is_its_text(tmp_path: Path) -> None:
    columns = ", ".join(f"{sql} as v{at}" for at, (sql, _) in enumerate(VALUES))
    _, (number, cells) = rows(write(tmp_path / "v.parquet", f"select {columns}"))
    assert number == 1
    assert dict(zip(VALUES, cells, strict=True)) == {value: value[1] for value in VALUES}


def test_days_and_durations_are_those_that_arrow_meant(tmp_path: Path) -> None:
    # What Parquet has of these is UTC, and a number.
    midnight = 1_672_527_600
    zones = ["Europe/Berlin", "+01:00", "America/New_York", "-05:30", "Mars/Base", "", None]
    for unit, second in {"s": 1, "ms": 1000, "us": 10**6, "ns": 10**9}.items():
        columns: dict[str, pa.Array] = {
            str(zone): pa.array([midnight * second], pa.timestamp(unit, zone)) for zone in zones
        }
        for seconds in (2100, 360_000, -3):
            columns[f"{seconds} s"] = pa.array([seconds * second], pa.duration(unit))
        columns["list"] = pa.array([[1, 2]])
        pq.write_table(pa.table(columns), tmp_path / "t.parquet")
        _, (_, cells) = rows(tmp_path / "t.parquet")
        assert cells[:2] == ["2023-01-01 00:00:00"] * 2
        assert cells[2:4] == ["2022-12-31 18:00:00", "2022-12-31 17:30:00"]
        assert cells[4:7] == ["2022-12-31 23:00:00+00", *["2022-12-31 23:00:00"] * 2]
        assert cells[7:] == ["00:35:00", "100:00:00", "-00:00:03", "1;2"]
    # What is beyond DuckDB's times stays a number, which is no run time.
    endless = pa.table({"a": pa.array([9 * 10**15, 60], pa.duration("s"))})
    pq.write_table(endless, tmp_path / "e.parquet")
    assert rows(tmp_path / "e.parquet")[1:] == [(1, ["9000000000000000"]), (2, ["00:01:00"])]
    schema = base64.b64decode(pq.read_metadata(tmp_path / "t.parquet").metadata[b"ARROW:schema"])
    # A damaged one says nothing, or something else, and no more.
    chance = random.Random(5)
    for at in range(4, len(schema), len(schema) // 10):
        damaged = bytearray(schema[: at if at % 2 else None])
        damaged[at - 1 : at + 3] = chance.randbytes(4)
        said = {b"ARROW:schema": base64.b64encode(damaged)}
        table = pa.table({"a": [1]}).replace_schema_metadata(said)
        pq.write_table(table, tmp_path / "d.parquet", store_schema=False)
        assert rows(tmp_path / "d.parquet")[1:] == [(1, ["1"])]


@pytest.mark.parametrize("name", ["it's.csv", "*.parquet", "a?[b]{c,d}.x", "s3:x", "-", "a\nb"])
def test_a_file_name_is_only_a_name(tmp_path: Path, name: str) -> None:
    write(tmp_path / "x.parquet", "select 'wrong' as v")
    source = write(tmp_path / "right", "select 'right' as v")
    found = sheet(source.rename(tmp_path / name), name)
    assert rows_of(found)[1] == (1, ["right"])
    assert (found.part, found.kind) == ("", "parquet")


def test_names_of_columns_stay_as_they_are(tmp_path: Path) -> None:
    query = """select {'x': {'y': 1}, 'z': 2} as "Odd ""name""; drop", 1 as "Id", 2 as "id " """
    path = write(tmp_path / "n.parquet", query)
    assert rows(path)[0] == (0, ['Odd "name"; drop', "Id", "id "])
    assert rows(path)[1] == (1, ['{"x":{"y":1},"z":2}', "1", "2"])


def test_rows_keep_the_order_of_the_file_and_start_anew_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "select (i * 7919) % 100003 as v from range(30000) t(i)"
    path = write(tmp_path / "o.parquet", query, ", row_group_size 2048")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    found = sheet(path, "o")
    for _ in range(2):
        beginning = found.rows()
        assert [next(beginning).number for _ in range(2)] == [0, 1]
    assert rows_of(found)[1:] == [(i + 1, [str(i * 7919 % 100_003)]) for i in range(30_000)]
    # Nothing stays behind of a reading that ends early.
    del beginning
    gc.collect()
    assert list(scratch.iterdir()) == []


def test_a_file_that_cannot_be_read_is_refused_with_a_sentence(tmp_path: Path) -> None:
    query = "select i, 'text ' || i % 7 as t from range(5000) x(i)"
    path = write(tmp_path / "g.parquet", query)
    whole = path.read_bytes()
    for content, word in (
        (b"", "damaged"),
        (b"id,name\n1,2\n", "damaged"),
        (whole[: len(whole) // 2], "damaged"),
        (b"PAR1" + bytes(50) + b"PAR1", "damaged"),
        (whole[:100] + b"\xff" * 500 + whole[600:], "damaged"),
        (b"PARE" + whole[4:-4] + b"PARE", "encrypted"),
    ):
        path.write_bytes(content)
        with pytest.raises(FileRefused, match=f"^p.parquet: this parquet file is {word}") as found:
            rows(path)
        assert str(tmp_path) not in str(found.value), content[:9]
        assert "\n" not in str(found.value), content[:9]


def test_a_file_that_is_not_there_any_more_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "g.parquet", "select 1 as v")
    found = sheet(path, "g")
    path.unlink()
    with pytest.raises(FileRefused, match=r"^g: "):
        list(found.rows())
