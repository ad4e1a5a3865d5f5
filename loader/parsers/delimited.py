"""Delimited text: records out of it, each part of it under its own header."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain

from loader.errors import FileRefused
from loader.parsers.dialect import ReadOptions, TextLayout, recognise_layout, unwrapped
from loader.parsers.encoding import (
    Decoding,
    Encoding,
    Stream,
    decode,
    encoding_of,
    proposals,
    said_encoding,
    to_a_character,
)
from loader.parsers.records import (
    UNDECODABLE,
    Batch,
    RejectedLine,
    extra_columns,
    ignored_names,
    listed,
    lost_columns,
)
from loader.parsers.splitter import (
    Splitter,
    complete_lines,
    count_lines,
    lines_of,
    output_delimiter,
)
from loader.sources import HeaderMatch, Headers, Input

# What the dialect is told from.
SAMPLE = 1 << 20
# A line must fit the memory whole; this is far above any list and below what would hurt.
_LINE_LIMIT = 32 << 20

Open = Callable[[], AbstractContextManager[Stream]]


@dataclass
class DelimitedParser:
    """Reads a recognised text; see the protocol `Parser`.

    What stands behind the sample may change `read_as`, unless it is final.
    """

    name: str
    open: Open
    read_as: Encoding
    layout: TextLayout
    wrapping: str
    inputs: Sequence[Input]
    hint: str = ""
    # Lines of further headers, what these name beyond the declared columns, and records that may
    # have swallowed others, as they are read.
    _headers: list[int] = field(default_factory=list)
    _further: list[str] = field(default_factory=list)
    _doubted: list[RejectedLine] = field(default_factory=list)

    part = ""

    @property
    def encoding(self) -> str:
        """What it is read as, as Python calls it."""
        return self.read_as.name

    @property
    def input(self) -> Input:
        return self.layout.match.input

    @property
    def header(self) -> tuple[str, ...]:
        return self.layout.header if self.layout.header_line else ()

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(name for name in self.layout.match.columns if name is not None)

    @property
    def delimiter(self) -> str:
        return output_delimiter(self.layout.dialect)

    @property
    def dialect(self) -> str:
        return f"{self.wrapping}text, {self.read_as}, {self.layout.description}"

    @property
    def ignored(self) -> tuple[str, ...]:
        return (*ignored_names(self.layout.header, self.layout.match), *self._further)

    @cached_property
    def has_extra(self) -> bool:
        return bool(ignored_names(self.layout.header, self.layout.match))

    @property
    def notes(self) -> tuple[str, ...]:
        notes = self.layout.notes
        if self.read_as.is_guess:
            notes += (f"the encoding is a guess: {self.read_as}; --encoding says another one",)
        if self.hint:
            notes += (self.hint,)
        if self._headers:
            lines = listed([str(line) for line in self._headers])
            notes += (f"a header stands again in line {lines}; what follows is read under it",)
        if self._further and not self.has_extra:
            notes += (lost_columns(self._further),)
        if self._doubted:
            lines = listed(
                [f"{one.line} to {one.line + count_lines(one.content)}" for one in self._doubted]
            )
            notes += (
                f"warning: a quoted cell has lines that look like records in lines {lines}; is a "
                "quotation mark missing there?",
            )
        return notes

    @property
    def headers(self) -> Headers:
        """What tells further headers from records."""
        return Headers(self.layout.match, self.inputs)

    def batches(self, load_id: int) -> Iterator[Batch]:
        self._headers, self._further, self._doubted = [], [], []
        headers = self.headers
        splitter = self._splitter(self.layout.header, self.layout.match, headers, load_id, line=1)
        raw = pending = ""
        with self.open() as stream:
            decoding = Decoding(self.name, stream, self.read_as)
            for portion in chain(decoding, [None]):
                self.read_as = decoding.encoding
                final = portion is None
                raw += portion or ""
                whole = len(raw) if final else complete_lines(raw)
                text = raw[:whole]
                pending += unwrapped(text) if self.layout.is_wrapped else text
                raw = raw[whole:]
                begin = self._skip(splitter, pending)
                out: list[str] = []
                rejected: list[RejectedLine] = []
                doubted: list[RejectedLine] = []
                records = 0
                while True:
                    text, used = splitter.split(pending[begin:], final=final)
                    out.append(text)
                    records += splitter.records
                    rejected += splitter.rejected
                    doubted += splitter.doubted
                    begin += used
                    header, splitter = splitter.header, self._following(splitter, headers, load_id)
                    if header is None:
                        break
                pending = pending[begin:]
                if len(pending) + len(raw) > _LINE_LIMIT:
                    raise FileRefused(
                        self.name,
                        f", line {splitter.line}: the line is longer than {_LINE_LIMIT >> 20} MiB. "
                        "Is this a table of text, and are its line ends right?",
                    )
                self._doubted += doubted
                yield Batch("".join(out), records, tuple(rejected), stream.position, tuple(doubted))

    def _splitter(
        self,
        header: Sequence[str],
        match: HeaderMatch,
        headers: Headers,
        load_id: int,
        *,
        line: int,
    ) -> Splitter:
        keep = tuple(name is not None for name in match.columns)
        pick = tuple(match.columns.index(n) if n in match.columns else -1 for n in self.columns)
        extra = extra_columns(header, match) if self.has_extra else None
        dialect, key = self.layout.dialect, match.key
        return Splitter(
            dialect, keep, load_id, line=line, pick=pick, extra=extra, key=key, headers=headers
        )

    def _following(self, splitter: Splitter, headers: Headers, load_id: int) -> Splitter:
        """What reads on: the same, or one for what stands below a header. Raises FileRefused."""
        if splitter.header is None:
            splitter.records = 0
            splitter.rejected, splitter.doubted = [], []
            return splitter
        match = headers.following(self.name, f"line {splitter.header_line}", splitter.header)
        self._headers.append(splitter.header_line)
        named = self.ignored
        self._further += [
            cell for cell in ignored_names(splitter.header, match) if cell not in named
        ]
        return self._splitter(splitter.header, match, headers, load_id, line=splitter.line)

    def _skip(self, splitter: Splitter, text: str) -> int:
        """Pass over the lines up to the header."""
        if splitter.line > self.layout.skip:
            return 0
        left = self.layout.skip + 1 - splitter.line
        begins = [at for _, at, _ in lines_of(text, limit=left + 1)]
        passed = min(left, len(begins))
        splitter.line += passed
        return begins[left] if len(begins) > left else len(text)


def recognise_text(
    name: str, open_bytes: Open, inputs: Sequence[Input], options: ReadOptions, wrapping: str = ""
) -> DelimitedParser:
    """The parser of a text. Raises FileRefused."""
    with open_bytes() as stream:
        sample = to_a_character(stream.read(SAMPLE), stream)
    if options.encoding is None:
        encoding = encoding_of(name, sample)
    else:
        encoding = said_encoding(options.encoding, sample)
    text = decode(sample, encoding.name)
    if len(sample) >= SAMPLE:
        text = text[: complete_lines(text)] or text
    layout = recognise_layout(name, text, inputs, options)
    has_others = options.encoding is None and encoding.name == "utf-8" and UNDECODABLE.search(text)
    hint = proposals(sample) if has_others else ""
    return DelimitedParser(name, open_bytes, encoding, layout, wrapping, inputs, hint)
