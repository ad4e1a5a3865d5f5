"""Files out of a multipart/form-data body (RFC 7578) while it arrives.

The helpers of frameworks keep all parts, in memory or in temporary files, before the route sees
the first. Here each portion is split when it comes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

_MOST_HEADERS = 8
_LONGEST_HEADER = 4096
_LONGEST_BOUNDARY = 70
_PLAIN = (b"binary", b"8bit", b"7bit")


class MultipartError(Exception):
    """The body is none."""


@dataclass(frozen=True)
class Part:
    """The begin of a part; `file_name` is None for a field of a form."""

    name: str
    file_name: str | None


# A part begins, some of its bytes, it ends.
Event = Part | bytes | None


def boundary_of(content_type: str) -> bytes | None:
    """The boundary that a Content-Type names; None for another type. Raises MultipartError."""
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data":
        return None
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= _LONGEST_BOUNDARY:
        raise MultipartError("The Content-Type names no boundary of 1 to 70 characters.")
    return boundary


async def parts_of(body: AsyncIterator[bytes], boundary: bytes) -> AsyncIterator[Event]:
    """What is in the body. Raises MultipartError when it is cut short or malformed."""
    splitter = _Splitter(boundary)
    async for portion in body:
        for event in splitter.split(portion):
            yield event
    if not splitter.complete:
        raise MultipartError("The body ends before its last boundary.")


class _Splitter:
    """Collects what the parser calls back with."""

    def __init__(self, boundary: bytes) -> None:
        self.complete = False
        self._events: list[Event] = []
        self._field = b""
        self._value = b""
        self._disposition = b""
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._part_begins,
                    "on_header_field": self._more_field,
                    "on_header_value": self._more_value,
                    "on_header_end": self._header_ends,
                    "on_headers_finished": self._headers_end,
                    "on_part_data": lambda data, start, end: self._events.append(data[start:end]),
                    "on_part_end": lambda: self._events.append(None),
                    "on_end": self._ends,
                },
                max_header_count=_MOST_HEADERS,
                max_header_size=_LONGEST_HEADER,
            )
        except FormParserError as error:
            raise MultipartError(f"{error}.") from None

    def split(self, portion: bytes) -> list[Event]:
        """The events of the next portion."""
        self._events = []
        try:
            self._parser.write(portion)
        except FormParserError as error:
            raise MultipartError(f"The body is no multipart/form-data: {error}.") from None
        return self._events

    def _part_begins(self) -> None:
        self._disposition = b""

    def _more_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_ends(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = self._value
        # RFC 7578, 4.7: it is not used; some clients still say that bytes are bytes.
        is_coding = self._field.lower() == b"content-transfer-encoding"
        if is_coding and self._value.strip().lower() not in _PLAIN:
            raise MultipartError("A part has a Content-Transfer-Encoding, which is not taken.")
        self._field = self._value = b""

    def _headers_end(self) -> None:
        kind, options = parse_options_header(self._disposition.decode("latin-1"))
        if kind != b"form-data":
            raise MultipartError("A part has no `Content-Disposition: form-data`.")
        file_name = options.get(b"filename")
        self._events.append(
            Part(_text(options.get(b"name", b"")), None if file_name is None else _text(file_name))
        )

    def _ends(self) -> None:
        self.complete = True


def _text(value: bytes) -> str:
    """What stands in a header: UTF-8, in which browsers write these two signs otherwise."""
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise MultipartError("A part's name is not UTF-8.") from None
    return text.replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
