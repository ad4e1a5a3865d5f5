"""Delimited text that the cluster reads, so that none of it goes through the loader's process.

Each task reads one block of the file, as it is on disk: lines end with LF, bytes stay what they
are. First the lines of every block are counted, which gives each line its number. Then the lines
that are records by themselves are split and written by the tasks; odd ones, which must be few, come
to the loader, which decides as it does for any file (see loader.parsers.by_line).

What this way cannot do (see `can_read`, or NotByLine) is left to the parser that the file has.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loader.engines.spark_files import Folder, write_batches
from loader.errors import FileRefused
from loader.parsers.by_line import (
    OddLines,
    begins_with_id,
    blank_pattern,
    cell_pattern,
    is_by_line,
    quoted_pattern,
    record_pattern,
)
from loader.parsers.delimited import LINE_LIMIT, DelimitedParser
from loader.parsers.encoding import MARK
from loader.parsers.records import Batch
from loader.parsers.splitter import Grammar
from loader.sources import Headers

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, Row, SparkSession

# What is smaller is read sooner here: the loader needs a few seconds for it, on one core.
LARGE = 256 << 20
_BLOCK = 32 << 20
# A longer line is odd: the patterns cost memory with its length.
_LONG = 1 << 16
# Odd lines and lines behind them that are brought to the loader, and characters of them.
_MOST_LINES = 200_000
_MOST_CONTEXT = 2_000_000
_MOST_CHARACTERS = 64 << 20
# monotonically_increasing_id has the task's number above these bits, the row's in them.
_ROW_BITS = 33
_GLOB = "\\{}[]*?"


class NotByLine(Exception):  # noqa: N818 -- nothing is wrong
    """The file has to be read by its parser after all."""


def can_read(parser: DelimitedParser, path: Path) -> bool:
    """Whether a file is large and of a kind that can be read line by line."""
    layout = parser.layout
    return (
        path.stat().st_size >= LARGE
        and not parser.wrapping
        and parser.encoding == "utf-8"
        and not layout.is_wrapped
        and is_by_line(layout.dialect, len(layout.match.columns))
    )


class ClusterLines:
    """The lines of a file, read by the tasks of a session.

    Making it raises NotByLine, and FileRefused as the file's parser does.
    """

    def __init__(
        self, session: SparkSession, path: Path, parser: DelimitedParser, load_id: int
    ) -> None:
        self._session = session
        self._path = path
        self._parser = parser
        self._load_id = load_id
        self._shape = parser.layout.dialect
        self._keep = tuple(name is not None for name in parser.layout.match.columns)
        self._begins, self._last = self._count()
        self._numbers = self._numbered()
        self._odd = self._decided()

    def write(self, folder: Folder) -> Iterator[Batch]:
        """Write the records into a partition's folder; what `RawStore.read_file` gives."""
        from pyspark.sql import Observation
        from pyspark.sql import functions as f

        odd = self._odd
        plain = self._numbers.where(f.col("kind") == "record")
        if odd.taken:
            taken = self._table("number bigint", [(one,) for one in odd.taken])
            plain = plain.join(f.broadcast(taken), "number", "left_anti")
        seen = Observation()
        records = plain.select(*self._cells(), f.col("number").alias("line"))
        records.observe(seen, f.count(f.lit(1)).alias("records")).write.parquet(folder.address)
        position = self._path.stat().st_size
        yield Batch("", int(seen.get["records"]), tuple(odd.rejected), position)
        if odd.batches:
            parser = self._parser
            columns = ("line", "load_id", *parser.columns)
            types = {**dict.fromkeys(parser.columns, "string"), "line": "bigint"}
            more = write_batches(folder, columns, types, parser.delimiter, iter(odd.batches))
            yield Batch("", more, (), position)

    def _lines(self) -> DataFrame:
        """The lines as they are on disk, with the block and their place in it."""
        from pyspark.sql import functions as f

        # A task gets one block: opening another one would cost as much as a whole one.
        self._session.conf.set("spark.sql.files.maxPartitionBytes", str(_BLOCK))
        self._session.conf.set("spark.sql.files.openCostInBytes", str(_BLOCK))
        address = "file://" + "".join(f"\\{c}" if c in _GLOB else c for c in str(self._path))
        row = f.monotonically_increasing_id().bitwiseAND(f.lit((1 << _ROW_BITS) - 1))
        return (
            self._session.read.option("lineSep", "\n")
            .text(address)
            .select(f.col("_metadata.file_block_start").alias("block"), row.alias("row"), "value")
        )

    def _count(self) -> tuple[dict[int, int], int]:
        """The number of each block's first line, and of the last line of all.

        Raises NotByLine for what cannot be read by line, FileRefused for a line that is too long.
        """
        from pyspark.sql import functions as f

        content = _content()
        size = f.octet_length("value").cast("long")
        counted = self._asked(
            self._lines()
            .groupBy("block")
            .agg(
                f.count(f.lit(1)).alias("lines"),
                f.sum(size + 1).alias("bytes"),
                f.max(f.struct(f.length("value"), "row")).alias("longest"),
                f.bool_or(f.contains(content, f.lit("\r"))).alias("has_cr"),
                f.bool_and(f.is_valid_utf8("value")).alias("is_utf8"),
            )
            .orderBy("block")
        )
        begins: dict[int, int] = {}
        line, total = 1, 0
        for block in counted:
            begins[int(block["block"])] = line
            longest, row = block["longest"]
            if longest > LINE_LIMIT:
                raise self._parser.line_too_long(line + int(row))
            line += int(block["lines"])
            total += int(block["bytes"])
        if any(block["has_cr"] for block in counted):
            raise NotByLine
        # Windows-1252 would be thought of by then.
        if self._parser.is_undecided and not all(block["is_utf8"] for block in counted):
            raise NotByLine
        self._check_size(total)
        return begins, line - 1

    def _asked(self, first: DataFrame) -> list[Row]:
        """The first rows that are asked for. Raises NotByLine if not all workers see the file."""
        from py4j.protocol import Py4JError

        try:
            return first.collect()
        except Py4JError as error:
            if "FAILED_READ_FILE" in str(error):
                raise NotByLine from None
            raise

    def _check_size(self, total: int) -> None:
        """See that the tasks have read the file that is here, all of it."""
        with self._path.open("rb") as file:
            mark = 3 if file.read(3) == b"\xef\xbb\xbf" else 0
        if total + mark - self._path.stat().st_size not in (0, 1):
            raise FileRefused(
                self._parser.name,
                ": Spark's workers read another file of this name, or it has changed. Put it where "
                "they all see the same.",
            )

    def _numbered(self) -> DataFrame:
        """The lines behind the header with their numbers and kinds: blank, record or odd."""
        from pyspark.sql import functions as f

        blocks = self._table("block bigint, begin bigint", list(self._begins.items()))
        content, shape = f.col("content"), self._shape
        odd = f.contains(content, f.lit("\0")) | (f.octet_length("value") > _LONG)
        # What could be a header is looked at here; so is a text for Excel, ="007".
        id_ = f.lit(begins_with_id(shape, self._parser.layout.match.key or 0))
        odd = odd | (~f.rlike(content, id_) & _may_be_header(content, self._parser.headers))
        odd = odd | f.contains(content, f.lit('="'))
        apart, width = f.col("apart"), len(self._keep)
        # Most lines have no mark: they are apart, and cost no regular expression.
        kind = (
            f.when(~f.is_valid_utf8("value") | odd, "odd")
            .when(f.rlike(content, f.lit(blank_pattern(shape))), "blank")
            .when(f.size(apart) == width, "record")
            .when(apart.isNull() & f.rlike(content, f.lit(record_pattern(shape, width))), "record")
            .otherwise("odd")
        )
        return (
            self._lines()
            .join(f.broadcast(blocks), "block")
            .select((f.col("begin") + f.col("row")).alias("number"), "value")
            .where(f.col("number") > self._parser.layout.skip)
            .select("number", "value", _content().alias("content"))
            .withColumn("apart", self._apart())
            .withColumn("kind", kind)
        )

    def _decided(self) -> OddLines:
        """What becomes of the odd lines. Raises NotByLine if they are too many."""
        from pyspark.sql import functions as f

        lines = _collected(self._numbers.where(f.col("kind") == "odd"), _MOST_LINES)
        grammar, headers = Grammar(self._shape), self._parser.headers
        for text in lines.values():
            cells = grammar.record(text, 0, len(text)).cells
            if headers.is_header([cell or "" for cell in cells]):
                raise NotByLine
        odd = OddLines(self._shape, self._keep, self._load_id, self._last)
        left = _MOST_CONTEXT

        def context(ranges: Sequence[range]) -> Mapping[int, str]:
            nonlocal left
            numbers = {number for span in ranges for number in span}
            left -= len(numbers)
            if left < 0:
                raise NotByLine
            wanted = self._table("number bigint", [(one,) for one in numbers])
            return _collected(self._numbers.join(f.broadcast(wanted), "number"), len(numbers))

        odd.decide(lines, context)
        odd.rejected.sort(key=lambda one: one.line)
        return odd

    def _table(self, columns: str, rows: Sequence[tuple[int, ...]]) -> DataFrame:
        """Numbers as a table; createDataFrame would ask the workers for a Python like ours."""
        from pyspark.sql import functions as f

        names = [column.split()[0] for column in columns.split(", ")]
        text = json.dumps([dict(zip(names, row, strict=True)) for row in rows])
        parsed = f.from_json(f.lit(text), f"array<struct<{columns.replace(' bigint', ':bigint')}>>")
        return self._session.range(1).select(f.inline(parsed))

    def _apart(self) -> Column:
        """The cells of a line without any mark; NULL for one that has some."""
        from pyspark.sql import functions as f

        # Java splits by a sign, or by one behind a backslash, without a regular expression.
        cells = f.split("content", re.escape(self._shape.delimiter), -1)
        if not self._shape.quote:
            return cells
        return f.when(~f.contains(f.col("content"), f.lit(self._shape.quote)), cells)

    def _cells(self) -> list[Column]:
        """The cells that are kept, under the names of their columns."""
        from pyspark.sql import functions as f

        shape, content, apart = self._shape, f.col("content"), f.col("apart")
        quoted, quote = f.lit(quoted_pattern(shape)), shape.quote

        def cell(at: int) -> Column:
            bare = f.nullif(f.get(apart, f.lit(at)), f.lit(""))
            if not quote:
                return bare
            written = f.regexp_extract(content, cell_pattern(shape, at), 1)
            inner = f.regexp_extract(written, quoted_pattern(shape), 1)
            return (
                f.when(apart.isNotNull(), bare)
                .when(f.rlike(written, quoted), f.replace(inner, f.lit(quote * 2), f.lit(quote)))
                .otherwise(f.nullif(written, f.lit("")))
            )

        columns = self._parser.layout.match.columns
        return [cell(at).alias(name) for at, name in enumerate(columns) if name is not None]


def _content() -> Column:
    """A line without the CR before its LF."""
    from pyspark.sql import functions as f

    value = f.col("value")
    ends = f.endswith(value, f.lit("\r"))
    return f.when(ends, f.substring(value, f.lit(1), f.length(value) - 1)).otherwise(value)


def _may_be_header(text: Column, headers: Headers) -> Column:
    """Whether a line has words of two columns of an input, as Headers.may_be_in says."""
    from pyspark.sql import functions as f

    lower, found = f.lower(text), f.lit(False)
    for columns in headers.words:
        counted = f.lit(0)
        for words in columns:
            has_any = f.lit(False)
            for word in words:
                has_any = has_any | f.contains(lower, f.lit(word))
            counted = counted + has_any.cast("int")
        found = found | (counted >= min(2, len(columns)))
    return found


def _collected(lines: DataFrame, most: int) -> dict[int, str]:
    """Lines by number. Raises NotByLine if they are too many, or too much."""
    found: dict[int, str] = {}
    characters = 0
    rows = lines.selectExpr("number", "cast(value as binary) as value").limit(most + 1)
    for number, value in rows.toLocalIterator():
        text = cast("bytes", value).decode("utf-8", MARK)
        characters += len(text)
        if len(found) == most or characters > _MOST_CHARACTERS:
            raise NotByLine
        found[int(number)] = text
    return found
