"""Files, wherever they are and however they are packed, as local files of plain bytes.

collect      what the PATHs of a call mean: files, folders, archives, addresses, pipes
paths        PATHs of this machine
remote       addresses, fetched into temporary files
temporary    where fetched and unpacked files go, and how much of it
compression  opening decompressed: gzip, zstd, bzip2, xz
content      what the bytes are
names        what names look like, and which files are nobody's data
"""

from __future__ import annotations

from loader.files.collect import Collected, collect, sha256_of
from loader.files.compression import DecompressedStream, open_bytes
from loader.files.content import Content, content_of
from loader.files.paths import LocalFile

__all__ = [
    "Collected",
    "Content",
    "DecompressedStream",
    "LocalFile",
    "collect",
    "content_of",
    "open_bytes",
    "sha256_of",
]
