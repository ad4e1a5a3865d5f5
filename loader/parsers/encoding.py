"""Which encoding a text has, and its decoding.

A mark, UTF-8 beyond ASCII, or a person proves an encoding. Bytes beyond ASCII that are no UTF-8
leave one guess, Windows-1252, and only while it makes better words of them than any other encoding
in use. If one makes as good ones, the file is refused with both readings; in such a file nobody
could tell later which names are wrong. What a word is, letters.txt says: which letters a language
has, and which stand side by side in its names. See docs/decisions.md.

Decoding neither fails nor loses a byte: bytes without a meaning are marked, and their lines are
rejected. So are words that the guess cannot explain, however far down they stand.
"""

# ruff: noqa: RUF001 -- these letters and signs are meant

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Protocol

from loader.errors import FileRefused, UsageError
from loader.printable import printable

# Reading so much at a time keeps the memory small, and the time per line does not fall further.
CHUNK = 1 << 20
_LONGEST_CHARACTER = 4
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The error handler that marks bytes without a meaning.
MARK = "labmart-mark"

# What is guessed; the encodings in use that can make words of the same bytes, with the languages
# that are written in them, none where they have letters of their own; and more that are proposed
# when there is no guess.
_GUESS = "cp1252"
_WEST = "de fr es pt it nl da no sv fi is ga et"
_EAST = "cs sk pl hu sl hr ro de"
_RIVALS = {
    **dict.fromkeys(("cp1250", "iso8859_2", "mac_latin2", "cp852"), _EAST),
    **dict.fromkeys(("cp1254", "cp857"), "tr"),
    **dict.fromkeys(("cp1257", "iso8859_13"), "lt lv et"),
    **dict.fromkeys(("mac_roman", "cp850"), _WEST),
    **dict.fromkeys(("cp1251", "cp1253", "gb18030", "big5", "cp932", "cp949", "cp1255", "cp1256")),
}
_OTHERS = ("koi8_r", "cp866")
_TO_KANJI = re.compile(rb"\x1b\$[@B]")
# A run of letters and bytes beyond ASCII with at least one of these. Longer ones are no words.
_TOKEN = re.compile(rb"[A-Za-z\x80-\xff]++")
_LETTERS_ONLY = bytes(
    byte if byte > 0x7F or chr(byte).isalpha() else ord(" ") for byte in range(256)
)
_LONGEST_TOKEN = 40
# So many different ones are judged at first; of all one in so many may be odd.
_MOST_TOKENS = 2000
_ODD_SHARE = 10
_EXAMPLES = 3

# What no other encoding has in such places: elisions, contractions, units.
_CERTAIN = re.compile(
    "^(?:[cdjlmnst]|qu|aujourd)’[aeéèêiîoôuhœ][a-zà-ÿ]{2}|[a-z]n’t$|’(?:re|ve|ll)$"
    "|^µ[mlgsav]l?$|^nº$"
)
# The signs that another encoding may have before a unit: a sign in a word is no evidence for it.
_UNIT = re.compile("[°µ][A-Za-z]{1,3}|[^\\W\\d_µºª²³¹¼½¾]+")
# Signs of laboratories and word processors; some stand within a word, some before or behind one.
_WITHIN = "’‘–—\u00a0·"
_TYPOGRAPHIC = f"{_WITHIN}“”„…•"
_SIGNS = f"{_WITHIN}€£°±²³µ·¹ºª¼½¾×÷«»“”„…•§®©™¿¡†‰"
_MISPLACED_SIGN = re.compile(
    f"[^\\W\\d_][^\\w{_WITHIN}][^\\W\\d_]|[€£÷][^\\W\\d_]|[^\\W\\d_]{{4}}[²³¹]|[²³¹¼½¾][^\\W\\d_]"
    "|[^\\W\\d_]÷"
)
# Where a capital letter of another page is likelier than these: `…ric`, `”scar`, `«elik`, `°Hola`.
_UNLIKELY_SIGN = re.compile("[…”«][^\\W\\d_]|°[^\\W\\d_]{2}|[^\\W\\d_a-zà-ÿ]…")
_LETTERS = re.compile("[^\\W\\d_µºª²³¹¼½¾]+")
# The scripts of the encodings that are tried, but for the Latin one.
_SCRIPTS = ("EAST", "CYRILLIC", "GREEK", "HEBREW", "ARABIC")


class Stream(Protocol):
    """Bytes to decode, as of io.BufferedReader, and how many of the file have been used."""

    @property
    def position(self) -> int: ...

    def read(self, size: int = -1, /) -> bytes: ...


Open = Callable[[], AbstractContextManager[Stream]]


@dataclass(frozen=True)
class Encoding:
    """An encoding as Python calls it; `examples` are words that are read by a guess."""

    name: str
    examples: tuple[str, ...] = ()
    is_guess: bool = False
    is_final: bool = True

    def __str__(self) -> str:
        if not self.examples:
            return self.name
        return f"{self.name}, guessed by {', '.join(map(repr, self.examples))}"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Each byte without a meaning becomes the character 0xDC00 + byte, which no text contains."""
    assert isinstance(error, UnicodeDecodeError)
    damaged = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in damaged), error.end


codecs.register_error(MARK, _mark)


def bom_of(sample: bytes) -> tuple[str, bytes] | None:
    """Encoding and bytes of the byte order mark, if the sample begins with one."""
    return next(((name, bom) for bom, name in _BOMS if sample.startswith(bom)), None)


def encoding_of(name: str, sample: bytes) -> Encoding:
    """The encoding of a file that begins with the sample.

    It is not final while all is ASCII. Raises FileRefused if a guess has a rival.
    """
    if proven := _proven(sample):
        return Encoding(proven)
    if sample.isascii():
        return Encoding("utf-8", is_final=False)
    tokens = Counter(dict(Counter(_words(sample)).most_common(_MOST_TOKENS)))
    if not _least(tokens, _GUESS):
        return Encoding("utf-8")
    for rival in (*_RIVALS, *_detected([*tokens])):
        differ = Counter(tokens)
        for token in tokens:
            if token.decode(rival, MARK) == token.decode(_GUESS, MARK):
                del differ[token]
        if differ and _least(differ, rival) >= max(1, _least(differ, _GUESS)):
            shown = max(differ, key=lambda token: _judged(token, rival))
            raise FileRefused(
                name,
                ": its letters beyond ASCII are no UTF-8, and two encodings make words of them: "
                f"{_shown(shown, _GUESS)} and {_shown(shown, rival)}. Say which it is with "
                f"--encoding.",
            )
    examples = [token.decode(_GUESS) for token in tokens if _judged(token, _GUESS)]
    return Encoding(_GUESS, tuple(examples[:_EXAMPLES]), is_guess=True)


def proposals(sample: bytes) -> str:
    """Which encodings would make words of bytes that are no UTF-8, in a sentence; '' if none."""
    found = Counter(word for word in _words(sample) if not _is_utf8(word))
    tokens = Counter(dict(found.most_common(_MOST_TOKENS)))
    pages = (_GUESS, *_RIVALS, *_OTHERS)
    shown = max(tokens, key=len, default=b"")
    likely = [page for page in pages if len(shown) > 2 and _least(tokens, page) > 1]
    if not likely:
        return ""
    readings = " or ".join(_shown(shown, page) for page in likely[:_EXAMPLES])
    return f"bytes that are no UTF-8 would read as words in another encoding: {readings}"


def decode(sample: bytes, encoding: str) -> str:
    """A sample as text, without byte order mark; an incomplete last character is left out."""
    bom = bom_of(sample)
    skipped = len(bom[1]) if bom and bom[0] == encoding else 0
    return codecs.getincrementaldecoder(encoding)(MARK).decode(sample[skipped:])


class Decoding:
    """The text of a stream in portions, without byte order mark. Bytes that are none are marked.

    `encoding` is what it is read as. If that was not final, as all is ASCII so far, the first
    portion that is not decides. Iterating raises FileRefused, which calls the file `name`.
    """

    def __init__(self, name: str, stream: Stream, encoding: Encoding) -> None:
        self.encoding = encoding
        self._name = name
        self._stream = stream

    def __iter__(self) -> Iterator[str]:
        chunk = self._stream.read(CHUNK)
        bom = bom_of(chunk)
        is_final = self.encoding.is_final
        if bom and bom[0] == self.encoding.name:
            chunk, is_final = chunk[len(bom[1]) :], True
        while not is_final and chunk.isascii():
            yield chunk.decode("ascii")
            if not (chunk := self._stream.read(CHUNK)):
                return
        if not is_final:
            chunk = to_a_character(chunk, self._stream)
            self.encoding = encoding_of(self._name, chunk)
        if self.encoding.is_guess:
            yield from self._guessed(chunk)
            return
        decoder = codecs.getincrementaldecoder(self.encoding.name)(MARK)
        while chunk:
            yield decoder.decode(chunk)
            chunk = self._stream.read(CHUNK)
        yield decoder.decode(b"", final=True)

    def _guessed(self, chunk: bytes) -> Iterator[str]:
        """Portions of whole lines, with every word marked that the guess cannot explain."""
        kept = b""
        while chunk:
            chunk = kept + chunk
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1 or len(chunk)
            chunk, kept = chunk[:end], chunk[end:]
            yield self._marked(chunk)
            chunk = self._stream.read(CHUNK)
        yield self._marked(kept)

    def _marked(self, chunk: bytes) -> str:
        odd = {word for word in {*_words(chunk)} if not _judged(word, self.encoding.name)}
        pieces, at = [], 0
        for found in _TOKEN.finditer(chunk) if odd else ():
            if found[0] in odd:
                pieces.append(chunk[at : found.start()].decode(self.encoding.name, MARK))
                pieces.append(found[0].decode("ascii", MARK))
                at = found.end()
        return "".join([*pieces, chunk[at:].decode(self.encoding.name, MARK)])


def to_a_character(chunk: bytes, stream: Stream) -> bytes:
    """The chunk, with a few bytes more if it may end within a character."""
    return chunk + stream.read(_LONGEST_CHARACTER) if chunk and chunk[-1] > 0x7F else chunk


def said_encoding(name: str, sample: bytes) -> Encoding:
    """The encoding that a person names, for a file that begins with the sample.

    Raises UsageError unless it can be decoded line by line, also behind a fault.
    """
    bom = bom_of(sample)
    try:
        encoding = codecs.lookup(name).name
        decoder = codecs.getincrementaldecoder(encoding)
        if decoder(MARK).decode("a,b\n".encode(encoding), final=True) != "a,b\n":
            raise LookupError
        decoder(MARK).decode(bytes(range(256)), final=True)
    except Exception:
        # Codecs raise what they like; all of it means the same here.
        raise UsageError(
            f"{name!r} is no text encoding that can be read. Common ones are utf-8, utf-16, "
            "windows-1252 and latin-1."
        ) from None
    if bom and bom[0].startswith(encoding):
        # "utf-16" leaves the order of bytes to the mark.
        return Encoding(bom[0])
    return Encoding("utf-16-le" if encoding == "utf-16" else encoding)


def wide_encoding_of(sample: bytes) -> str | None:
    """The encoding that a byte order mark or the zero bytes of UTF-16 tell."""
    bom = bom_of(sample)
    return bom[0] if bom else _utf16_without_bom(sample)


def _proven(sample: bytes) -> str | None:
    if wide := wide_encoding_of(sample):
        return wide
    if sample.isascii():
        # Its shifts between alphabets are the marks of ISO 2022.
        return "iso2022_jp" if _TO_KANJI.search(sample) else None
    decoded = codecs.getincrementaldecoder("utf-8")(MARK).decode(sample)
    is_some = any(ord(char) > 0x7F and not 0xD800 <= ord(char) <= 0xDFFF for char in set(decoded))
    return "utf-8" if is_some else None


def _utf16_without_bom(sample: bytes) -> str | None:
    """Under UTF-16 ASCII letters, and be it only those of the header, have a zero every 2 bytes."""
    head = sample[:4096]
    pairs = len(head) // 2
    if pairs < 4:
        return None
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > 0.2 * pairs and even < 0.1 * odd:
        return "utf-16-le"
    if even > 0.2 * pairs and odd < 0.1 * even:
        return "utf-16-be"
    return None


def _words(data: bytes) -> list[bytes]:
    """The tokens of some text that are no longer than words are."""
    words = data.translate(_LETTERS_ONLY).split()
    return [word for word in words if not word.isascii() and len(word) <= _LONGEST_TOKEN]


def _least(tokens: Counter[bytes], encoding: str) -> int:
    """How much the least one looks like a word, but for the share that may be odd."""
    left = tokens.total() // _ODD_SHARE
    for score, times in sorted((_judged(token, encoding), n) for token, n in tokens.items()):
        left -= times
        if left < 0:
            return score
    return 1


def _detected(tokens: list[bytes]) -> tuple[str, ...]:
    """What charset-normalizer takes the words for. Its choice is judged like the others."""
    # Imported here: most files are UTF-8.
    from charset_normalizer import from_bytes

    best = from_bytes(b" ".join(tokens)).best()
    # EBCDIC and UTF-16 it cannot be, as the header has been read.
    if best is None or best.encoding == _GUESS or b"az,".decode(best.encoding, "replace") != "az,":
        return ()
    return (best.encoding,)


def _shown(token: bytes, encoding: str) -> str:
    name = encoding.replace("cp125", "windows-125")
    return f"{printable(token.decode(encoding, MARK))!r} ({name})"


@lru_cache(maxsize=1 << 16)
def _judged(token: bytes, encoding: str) -> int:
    """How much a token looks like words: the least of `_looks_like`; 3 like no other encoding's."""
    try:
        text = token.decode(encoding)
    except UnicodeDecodeError:
        return 0
    if encoding == _GUESS and _is_utf8(token):
        return 0
    signs = [char for char in text if not _LETTERS.match(char)]
    if any(sign not in _SIGNS for sign in signs) or _MISPLACED_SIGN.search(text):
        return 0
    # What Turkish has in common with the West is the same in both encodings.
    everything = f"{_WEST} {_EAST} tr lt lv"
    languages = f"{_WEST} tr" if encoding == _GUESS else _RIVALS.get(encoding) or everything
    least = min((_looks_like(word, languages) for word in _LETTERS.findall(text)), default=3)
    if encoding == _GUESS and least and _CERTAIN.search(text.lower()):
        return 4
    if encoding == _GUESS and not _LETTERS.search(text):
        return least if len(text) == 1 or any(sign in _TYPOGRAPHIC for sign in text) else 0
    # A sign at a word may be a letter of it in another encoding, and is no evidence for any.
    is_weak = not _UNIT.fullmatch(text) or _UNLIKELY_SIGN.search(text)
    return int(encoding == _GUESS and least == 3) if is_weak else least


def _is_utf8(token: bytes) -> bool:
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True


def _looks_like(word: str, languages: str) -> int:
    """How much a run of letters looks like a word of one of the languages.

    0 not at all; 1 the language has its letters; 2 and in such places.
    """
    script = {_script(char) for char in word}
    if len(script) > 1:
        return 0
    if script != {"LATIN"}:
        is_cased = word in (word.lower(), word.upper(), word.capitalize())
        is_used = not script.isdisjoint(_SCRIPTS) and is_cased
        return 1 + 2 * (len(word) > 1) if is_used else 0
    if _is_cased_oddly(word):
        return 0
    # Lower-case, İ would become two characters.
    lower = f"^{word.replace('İ', 'i').lower()}$"
    beyond = [at for at, char in enumerate(lower) if not char.isascii()]
    most = 0
    for language in languages.split():
        known = _letters()[language]
        if all(lower[at] in known for at in beyond):
            places = [(known[lower[at]], lower[at - 1], lower[at + 1]) for at in beyond]
            level = 1
            if all(
                before in letter and any(behind in b for b in letter.values())
                for letter, before, behind in places
            ):
                level = 2
            if all(behind in letter.get(before, "") for letter, before, behind in places):
                level = 3
            most = max(most, level)
    return most


@cache
def _letters() -> dict[str, dict[str, dict[str, str]]]:
    """By language, letter beyond ASCII, and the one before it, which ones stand behind it."""
    places: dict[str, dict[str, dict[str, str]]] = {}
    for line in (Path(__file__).parent / "letters.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            language, letter, *around = line.split(" ")
            places.setdefault(language, {})[letter] = {part[0]: part[1:] for part in around}
    return places


def _is_cased_oddly(word: str) -> bool:
    """Whether a letter beyond ASCII is a capital or small where no writing has one."""
    pairs = [*pairwise(word)]
    return (
        any(b.isupper() and not b.isascii() and a.islower() for a, b in pairs)
        or (
            # `HŒkan`, `MüLLER`: neither in capitals nor a capital and small letters.
            any(a.isupper() and b.isupper() and not b.isascii() for a, b in pairs)
            and word[2:].lower() == word[2:]
            and len(word) > 2
        )
        or (
            # `BIéVRE`.
            bool(ascii_ := [char for char in word if char.isascii()])
            and all(map(str.isupper, ascii_))
            and any(char.islower() and char != "ß" for char in word)
            and len(word) > 2
        )
    )


def _script(char: str) -> str:
    """`LATIN`, `GREEK`, `CYRILLIC`…; the scripts of the East are written side by side."""
    script = unicodedata.name(char, "").partition(" ")[0]
    return "EAST" if script in ("CJK", "HIRAGANA", "KATAKANA", "HANGUL") else script
