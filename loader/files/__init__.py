"""Files, wherever they are and however they are packed, as local files of plain bytes.

collect      what the PATHs of a call mean: files, folders, archives, addresses, standard input
paths        PATHs of this machine, and temporary files: where they go, and how much of them
remote       addresses, fetched into temporary files
content      opening decompressed (gzip, zstd, bzip2, xz), and what the bytes are
names        what names look like, and which files are nobody's data
"""

from __future__ import annotations

from loader.files.collect import Collected, collect
from loader.files.content import Content, DecompressedStream, content_of, open_bytes, sha256_of
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
