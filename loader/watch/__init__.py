"""`labmart watch`: loads the files that land in a place, then builds.

places    folders and object stores: what lies there, and taking it away
folder    a folder of this machine
store     a prefix of an object store, or a folder behind sftp
complete  whether a file has been written to its end
memory    what has been done with which file, on disk
rounds    one look at a place: load what is complete, then build
"""

from __future__ import annotations

from loader.watch.rounds import Summary, WatchOptions, watch

__all__ = ["Summary", "WatchOptions", "watch"]
