"""The formats of an answer: which one is asked for, and the bytes of each."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from loader.columnar import engine_in, rows_of, write_parquet
from loader.engines import Column
from loader.errors import BadParameter, NotAcceptable
from loader.service.query.parameters import FORMAT, FORMULAS


@dataclass(frozen=True)
class Format:
    """A format by its name in `?format=`; `page` is how many rows come when no limit is given."""

    name: str
    media_type: str
    ending: str
    page: int | None = None

    @property
    def content_type(self) -> str:
        """The header of an answer in this format."""
        is_csv = self.media_type == "text/csv"
        return f"{self.media_type}; charset=utf-8; header=present" if is_csv else self.media_type


JSON = Format("json", "application/json", ".json", page=100)
CSV = Format("csv", "text/csv", ".csv")
PARQUET = Format("parquet", "application/vnd.apache.parquet", ".parquet")
ARROW = Format("arrow", "application/vnd.apache.arrow.stream", ".arrows")
FORMATS = (JSON, CSV, PARQUET, ARROW)


def format_of(given: Mapping[str, str], accept: str | None) -> Format:
    """What `?format=` says, else the header Accept; JSON if neither prefers another.

    Raises BadParameter or NotAcceptable.
    """
    if FORMAT in given:
        found = next((one for one in FORMATS if one.name == given[FORMAT]), None)
        if found is None:
            known = ", ".join(one.name for one in FORMATS)
            raise BadParameter(FORMAT, f"{given[FORMAT][:30]!r} is none of {known}.")
        return found
    ranges = _ranges(accept or "*/*")
    best = max(FORMATS, key=lambda one: _quality(ranges, one))
    if _quality(ranges, best) <= 0:
        raise NotAcceptable([one.media_type for one in FORMATS])
    return best


def keep_formulas(given: Mapping[str, str]) -> bool:
    """Whether cells of CSV that a spreadsheet takes for formulas shall stay as they are."""
    text = given.get(FORMULAS, "escape")
    if text not in ("escape", "keep"):
        raise BadParameter(FORMULAS, f"{text[:30]!r} is none of escape, keep.")
    return text == "keep"


def _ranges(accept: str) -> dict[str, float]:
    """The media ranges of an Accept header (RFC 9110, 12.5.1); one that is no range is left out."""
    found = {}
    for item in accept.split(","):
        media, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            weight = re.fullmatch(r"q\s*=\s*([01](?:\.\d{0,3})?)", parameter)
            quality = float(weight[1]) if weight else quality
        found[media] = quality
    return found


def _quality(ranges: Mapping[str, float], one: Format) -> float:
    family = one.media_type.partition("/")[0] + "/*"
    for media in (one.media_type, family, "*/*"):
        if media in ranges:
            return ranges[media]
    return 0.0


def write_columnar(
    fill: Callable[[IO[bytes]], None], columns: Sequence[Column], format_: Format, out: IO[bytes]
) -> None:
    """Write in one of the columnar formats what `fill` writes as PostgreSQL's CSV."""
    with tempfile.TemporaryDirectory(prefix="labmart-") as name:
        folder = Path(name)
        source, target = folder / "rows.csv", folder / f"rows{format_.ending}"
        with source.open("wb") as file:
            fill(file)
        with engine_in(folder) as engine:
            rows = rows_of(source, columns)
            if format_ is PARQUET:
                write_parquet(engine, rows, target)
            else:
                _write_arrow(engine.sql(rows), target)
        with target.open("rb") as file:
            while piece := file.read(1 << 20):
                out.write(piece)


def _write_arrow(relation: object, file: Path) -> None:
    import nanoarrow
    from nanoarrow.ipc import StreamWriter

    with file.open("wb") as out, StreamWriter.from_writable(out) as writer:
        writer.write_stream(nanoarrow.ArrayStream(relation))
