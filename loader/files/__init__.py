"""Files, wherever they are and however they are packed, as local files of plain bytes.

results.py      the values
paths.py        files, folders, patterns
remote.py       addresses and standard input   (sftp.py, faults.py)
remote_folder.py  an address that is looked at again and again
temporary.py    where fetched and unpacked files go, and how much of it
layers.py       gzip, zstd, bzip2, xz: opening decompressed   (decoders.py)
content.py      what the bytes are             (containers.py: zip and OLE)
archives.py     members of zip archives
collect.py      all of it together
names.py        what names look like, and which files are nobody's data
"""

from __future__ import annotations

from loader.files.collect import collect, sha256_of
from loader.files.content import Content, content_of
from loader.files.layers import Stream, open_bytes
from loader.files.results import Collected, LocalFile

__all__ = [
    "Collected",
    "Content",
    "LocalFile",
    "Stream",
    "collect",
    "content_of",
    "open_bytes",
    "sha256_of",
]
