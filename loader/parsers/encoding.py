"""Detecting the encoding of a text, and decoding it.

A byte order mark, non-ASCII UTF-8, or the user proves an encoding. Non-ASCII bytes that are not
UTF-8 leave one guess, Windows-1252, and only if it turns them into better words than any other
encoding in use. If another does as well, the file is refused with both readings, because a wrong
guess could not be detected later. letters.txt defines what a word is: the letters of each language,
and which ones stand side by side in its names. See docs/decisions.md.

Decoding never fails and never loses a byte: undecodable bytes are marked, and their lines are
rejected. So are words that the guess cannot explain, anywhere in the file.
"""

# ruff: noqa: RUF001 -- these letters and signs are meant

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from loader.errors import FileRefused, UsageError
from loader.printable import printable

if TYPE_CHECKING:
    from loader.files.content import DecompressedStream

# Small enough to save memory; larger chunks do not reduce the time per line.
CHUNK = 1 << 20
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# The error handler that marks undecodable bytes.
MARK = "labmart-mark"

# The guess, and the encodings in use that can turn the same bytes into words, with their languages;
# none for those with scripts of their own.
_GUESS = "cp1252"
_WEST = "de fr es pt it nl da no sv fi is ga et"
_EAST = "cs sk pl hu sl hr ro de"
_LANGUAGES = {
    # The letters that Turkish shares with the West are the same in both encodings.
    _GUESS: f"{_WEST} tr",
    **dict.fromkeys(("cp1250", "iso8859_2", "mac_latin2", "cp852"), _EAST),
    **dict.fromkeys(("cp1254", "cp857"), "tr"),
    **dict.fromkeys(("cp1257", "iso8859_13"), "lt lv et"),
    **dict.fromkeys(("mac_roman", "cp850"), _WEST),
    **dict.fromkeys(("cp1251", "cp1253", "gb18030", "big5", "cp932", "cp949", "cp1255"), ""),
    "cp1256": "",
}
# A non-ASCII character.
_UTF8 = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_TO_KANJI = re.compile(rb"\x1b\$[@B]")
# A token is a run of letters and non-ASCII bytes. Longer ones are not words.
_TOKEN = re.compile(rb"[A-Za-z\x80-\xff]++")
_LETTERS_ONLY = bytes(n if n > 0x7F or chr(n).isalpha() else ord(" ") for n in range(256))
_LONGEST_TOKEN = 40
# How many tokens of the sample are judged; one in _ODD_SHARE may be odd.
_MOST_TOKENS = 2000
_ODD_SHARE = 10
_EXAMPLES = 3

# Conclusive, since no other encoding gives these: units, elisions, contractions.
_CERTAIN = re.compile(
    "°[cf]|µ[aglmsv]l?|[cdkmµ]?m[²³]|nº|(?:[cdjlmnst]|qu|aujourd)’[aeéèêiîoôuhœ][a-zà-ÿ]{2,}"
    "|[a-zà-ÿ]+(?:n’t|’(?:re|ve|ll))",
    re.IGNORECASE,
)
_LETTERS = re.compile("[^\\W\\d_µºª²³¹¼½¾]+")
# Signs from laboratories and word processors: alone, and attached to words.
_SIGNS = re.compile("[–—‘’“”„…•·\u00a0]+|[€£°±²³µ¹ºª¼½¾×÷«»§®©™¿¡†‰]")
_SIGNS_AT_WORDS = re.compile(
    f"[“‘«»„¿¡±§©°ºµ•·–—\u00a0]*(?:{_LETTERS.pattern}+[’‘–—·\u00a0]?+)++[”“’»«…ºª®™°†–—\u00a0]*"
    "|[A-Za-z]{1,3}[²³¹]"
)
# The non-Latin scripts that are tried; the Eastern ones may be mixed.
_EASTERN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL")
_CASED = ("CYRILLIC", "GREEK", "HEBREW", "ARABIC")
# A capital within a word begins a new word: `LaFrenière`.
_CAPITAL_WITHIN = re.compile("(?<=[a-zà-ÿ])(?=[A-Z])")


Open = Callable[[], AbstractContextManager["DecompressedStream"]]


@dataclass(frozen=True)
class Encoding:
    """An encoding by its Python name; `examples` are words read by a guess."""

    name: str
    examples: tuple[str, ...] = ()
    is_guess: bool = False

    def __str__(self) -> str:
        if not self.examples:
            return self.name
        return f"{self.name}, guessed by {', '.join(map(repr, self.examples))}"


def _mark(error: UnicodeError) -> tuple[str, int]:
    """Each undecodable byte becomes the character 0xDC00 + byte, which no text contains."""
    assert isinstance(error, UnicodeDecodeError)
    damaged = error.object[error.start : error.end]
    return "".join(chr(0xDC00 + byte) for byte in damaged), error.end


codecs.register_error(MARK, _mark)


def bom_of(sample: bytes) -> tuple[str, bytes] | None:
    """Encoding and bytes of the byte order mark, if the sample begins with one."""
    return next(((name, bom) for bom, name in _BOMS if sample.startswith(bom)), None)


def encoding_of(name: str, sample: bytes) -> Encoding:
    """The encoding of a file that begins with the sample; UTF-8 unless something contradicts it.

    Raises FileRefused if a guess has a rival.
    """
    if wide := wide_encoding_of(sample):
        return Encoding(wide)
    # ISO 2022 is recognised by its shifts between alphabets.
    if sample.isascii() and _TO_KANJI.search(sample):
        return Encoding("iso2022_jp")
    words = _words(sample)[:_MOST_TOKENS]
    if sample.isascii() or _UTF8.search(sample) or not _quality(words, _GUESS):
        return Encoding("utf-8")
    for rival in _LANGUAGES:
        differ = [w for w in words if w.decode(rival, MARK) != w.decode(_GUESS, MARK)]
        if differ and _quality(differ, rival) >= max(1, _quality(differ, _GUESS)):
            word = max(differ, key=lambda word: _judged(word, rival))
            readings = " and ".join(
                f"{printable(word.decode(page, MARK))!r} ({page.replace('cp125', 'windows-125')})"
                for page in (_GUESS, rival)
            )
            raise FileRefused(
                name,
                ": its letters beyond ASCII are no UTF-8, and two encodings make words of them: "
                f"{readings}. Say which it is with --encoding.",
            )
    examples = dict.fromkeys(word.decode(_GUESS) for word in words if _judged(word, _GUESS))
    return Encoding(_GUESS, tuple(examples)[:_EXAMPLES], is_guess=True)


def decode(sample: bytes, encoding: str) -> str:
    """A sample as text, without byte order mark or an incomplete last character."""
    bom = bom_of(sample)
    skipped = len(bom[1]) if bom and bom[0] == encoding else 0
    return codecs.getincrementaldecoder(encoding)(MARK).decode(sample[skipped:])


def decoded(stream: DecompressedStream, encoding: Encoding) -> Iterator[str]:
    """The text of a stream in portions, without byte order mark. Undecodable bytes are marked."""
    chunk = stream.read(CHUNK)
    if (bom := bom_of(chunk)) and bom[0] == encoding.name:
        chunk = chunk[len(bom[1]) :]
    decoder = codecs.getincrementaldecoder(encoding.name)(MARK)
    kept = b""
    while chunk:
        if encoding.is_guess:
            chunk = kept + chunk
            end = max(chunk.rfind(b"\n"), chunk.rfind(b"\r")) + 1 or len(chunk)
            chunk, kept = chunk[:end], chunk[end:]
            yield _guessed(chunk)
        else:
            yield decoder.decode(chunk)
        chunk = stream.read(CHUNK)
    yield _guessed(kept) if kept else decoder.decode(b"", final=True)


def _guessed(lines: bytes) -> str:
    """Decode lines by the guess, marking every word that it cannot explain."""
    odd = {word for word in {*_words(lines)} if not _judged(word, _GUESS)}
    pieces, at = [], 0
    for token in _TOKEN.finditer(lines) if odd else ():
        if token[0] in odd:
            pieces.append(lines[at : token.start()].decode(_GUESS, MARK))
            pieces.append(token[0].decode("ascii", MARK))
            at = token.end()
    return "".join([*pieces, lines[at:].decode(_GUESS, MARK)])


def said_encoding(name: str, sample: bytes) -> Encoding:
    """The encoding that the user names, for a file that begins with the sample.

    Raises UsageError unless it can be decoded line by line, even after a fault.
    """
    bom = bom_of(sample)
    try:
        encoding = codecs.lookup(name).name
        if bom and bom[0].startswith(encoding):
            # "utf-16" leaves the byte order to the mark.
            return Encoding(bom[0])
        if encoding in ("utf-16", "utf-32"):
            encoding = f"{encoding}-le"
        decoder = codecs.getincrementaldecoder(encoding)
        if decoder(MARK).decode("a,b\n".encode(encoding), final=True) != "a,b\n":
            raise LookupError
        decoder(MARK).decode(bytes(range(256)), final=True)
    except Exception:
        # Codecs raise arbitrary exceptions, all with the same meaning here.
        raise UsageError(
            f"{name!r} is no text encoding that can be read. Common ones are utf-8, utf-16, "
            "windows-1252 and latin-1."
        ) from None
    return Encoding(encoding)


def wide_encoding_of(sample: bytes) -> str | None:
    """The encoding shown by a byte order mark or by the zero bytes of UTF-16."""
    if bom := bom_of(sample):
        return bom[0]
    # For ASCII letters, if only those of the header, every second byte is zero.
    head = sample[:4096]
    zeros = [(head[1::2].count(0), "utf-16-le"), (head[0::2].count(0), "utf-16-be")]
    (few, _), (many, encoding) = sorted(zeros)
    return encoding if few < 0.1 * many and many > max(1, 0.1 * len(head)) else None


def _words(data: bytes) -> list[bytes]:
    """The non-ASCII tokens that are short enough to be words."""
    words = data.translate(_LETTERS_ONLY).split()
    return [word for word in words if not word.isascii() and len(word) <= _LONGEST_TOKEN]


def _quality(words: list[bytes], encoding: str) -> int:
    """The lowest score of the words, leaving out the share that may be odd."""
    scores = sorted(_judged(word, encoding) for word in words)
    return scores[len(scores) // _ODD_SHARE] if scores else 1


@lru_cache(maxsize=1 << 16)
def _judged(token: bytes, encoding: str) -> int:
    """How much bytes look like words: the lowest `_looks_like`, or 4 if conclusive."""
    try:
        text = token.decode(encoding)
    except UnicodeDecodeError:
        return 0
    words = _LETTERS.findall(text)
    least = min((_looks_like(word, _LANGUAGES[encoding]) for word in words), default=3)
    is_utf8 = "\ufffd" not in token.decode("utf-8", "replace")
    if encoding == _GUESS and (is_utf8 or not least):
        return 0
    if encoding == _GUESS and _CERTAIN.fullmatch(text):
        return 4
    if [text] == words or _SIGNS.fullmatch(text):
        return least
    # A sign at a word may be one of its letters in another encoding, so it is evidence for none.
    return int(encoding == _GUESS and least == 3 and bool(_SIGNS_AT_WORDS.fullmatch(text)))


def _looks_like(word: str, languages: str) -> int:
    """How much a run of letters looks like a word of one of the languages.

    0: not at all; 1: a language has its letters; 2: and the letters before and after them; 3: in
    such pairs.
    """
    pieces = _CAPITAL_WITHIN.split(word.replace("ß", ""))
    if any(piece not in (piece.lower(), piece.upper(), piece.capitalize()) for piece in pieces):
        return 0
    scripts = {unicodedata.name(char, "").partition(" ")[0] for char in word}
    if scripts != {"LATIN"}:
        is_one = scripts.issubset(_EASTERN) or (len(scripts) == 1 and scripts.issubset(_CASED))
        return (1 + 2 * (len(word) > 1)) * is_one
    # Lower-casing İ would give two characters.
    lower = f"^{word.replace('İ', 'i').lower()}$"
    beyond = [at for at, char in enumerate(lower) if not char.isascii()]
    most = 0
    for language in languages.split():
        letters = _letters()[language]
        if not all(lower[at] in letters for at in beyond):
            continue
        around = [(letters[lower[at]], lower[at - 1], lower[at + 1]) for at in beyond]
        if all(after in places.get(before, "") for places, before, after in around):
            return 3
        apart = all(before in ps and after in "".join(ps.values()) for ps, before, after in around)
        most = max(most, 2 if apart else 1)
    return most


@cache
def _letters() -> dict[str, dict[str, dict[str, str]]]:
    """By language, non-ASCII letter, and preceding letter: the letters that may follow."""
    places: dict[str, dict[str, dict[str, str]]] = {}
    for line in (Path(__file__).parent / "letters.txt").read_text("utf-8").splitlines():
        if not line.startswith("#"):
            language, letter, *around = line.split(" ")
            places.setdefault(language, {})[letter] = {part[0]: part[1:] for part in around}
    return places
