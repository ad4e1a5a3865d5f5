"""Publications in the lake; see the package.

dbt publishes a run without failures by writing a file that names its relations. How it was made is
recorded right after that. Rolling back publishes a copy of an earlier build.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from hashlib import sha256
from socket import gethostname

from loader.contract import MART_STATUS
from loader.engines import literal
from loader.engines.duckdb import DuckDB
from loader.engines.lake import lake_of, marts, parquet, published
from loader.project import Profile
from loader.publications import (
    CURRENT,
    GONE,
    KEPT,
    PUBLICATIONS,
    GreenBuild,
    Publication,
    Publications,
)

# Unpublished builds may still be running for this long.
_LONGEST_BUILD_SECONDS = 24 * 3600.0


@contextmanager
def connected(
    profile: Profile,
    *,
    write: bool,  # noqa: ARG001 -- there is no lock: many may publish
) -> Iterator[LakePublications]:
    """See `open_publications`."""
    yield LakePublications(profile)


class LakePublications(Publications):
    """See `Publications`. A build made on another machine is a publication, too."""

    engine: DuckDB

    def __init__(self, profile: Profile) -> None:
        self._lake = lake_of(profile)
        super().__init__(profile, self._lake.location)

    def is_whole(self, seen: Publication) -> bool:
        return self._pointers()[-1:] == [seen.place]

    def is_seen(self, *_: str) -> str:
        # Readers can see only what is published.
        return "true"

    def ledger(self) -> str:
        return "".join(self._lake.names(f"{self.profile.raw_schema}/loads")[-1:])

    def begin(self) -> str:
        # This build may or may not see what is loaded from now on, so the next one is due then.
        self.ledger_read = self.ledger()
        # The session may be shared with builds of other lakes, and of this one elsewhere.
        whose = [gethostname(), str(self.profile.path.absolute()), self._lake.location]
        return f"{self.schema}__{sha256(json.dumps(whose).encode()).hexdigest()[:8]}"

    def publish(self, build: GreenBuild, keep: int) -> int | None:
        """Record what dbt has published, and delete builds that nobody reads any more."""
        # The name macros/lake/location.sql gives a build.
        end = f"-{build.invocation_id[:8]}"
        names = [name for name in self._pointers() if name.endswith(end)]
        if not names:
            return None
        with self._alone(), self.opened(names[-1]):
            self.make_table()
            number = self.next_number()
            # Each build is a folder: none can grow.
            noted = replace(build, place=names[-1], can_grow=False)
            self.run(self.entry(noted, number, names[-1]))
            # Of concurrent builds readers see the one that began last, whichever ends last.
            newest = literal(self._pointers()[-1])
            self.run(
                f"update {self.table} set status = if(place = {newest}, '{CURRENT}', '{KEPT}') "
                f"where status <> '{GONE}' and {newest} in (select place from {self.table})"
            )
            self._tidy(keep)
            left = ", ".join(map(literal, self._lake.names(f"{self.schema}/builds")))
            self.run(f"update {self.table} set status = '{GONE}' where place not in ({left})")
            self._write()
        return number

    def _tidy(self, keep: int) -> None:
        """Delete the builds that nobody reads: all but those of the last publications.

        At least two stay, since somebody may be reading the previous one. An unpublished build may
        still be running, and goes when it is a day old.
        """
        builds = self._pointers()
        relations = published(self._lake, self.engine)
        seen = {(relation.schema, relation.name): relation.build for relation in relations}
        kept = {*seen.values(), *builds[-max(keep + 1, 2) :]}
        # A build's name begins with its start time.
        day = time.strftime("%Y%m%dT%H%M%S", time.gmtime(time.time() - _LONGEST_BUILD_SECONDS))
        for build in self._lake.names(f"{self.schema}/builds"):
            if build not in kept and (build in builds or build < day):
                self._lake.delete(f"{self.schema}/builds/{build}")
                self._lake.delete(f"{self.schema}/published/{build}")

    def roll_back(self, build: int | None) -> tuple[Publication, Publication]:
        with self._alone(), self.opened():
            current, chosen = self.chosen(build)
            now = time.strftime("%Y%m%dT%H%M%S.000000", time.gmtime())
            place = f"{now}-{chosen.place.rpartition('-')[2]}"
            builds, pointers = f"{self.schema}/builds", f"{self.schema}/published"
            self._lake.copy(f"{builds}/{chosen.place}", f"{builds}/{place}")
            files = ", ".join(map(literal, self._lake.files_in(f"{pointers}/{chosen.place}")))
            pointer = parquet(
                self.engine,
                f"select {literal(place)} as build, * exclude (build) from read_parquet([{files}])",
            )
            self._lake.create(f"{pointers}/{place}/0.parquet", pointer)
            self.run(self.exchange(current, chosen))
            self.run(
                f"update {self.table} set place = {literal(place)} where build = {chosen.build:d}"
            )
            self._write()
        return current, replace(chosen, place=place)

    @contextmanager
    def opened(self, *places: str) -> Iterator[None]:
        with marts(self._lake, self.schema, places, writes=True) as self.engine:
            yield

    def _alone(self) -> AbstractContextManager[None]:
        return self._lake.alone(f"{self.schema}/publishing")

    def _write(self) -> None:
        """Write the table to the lake, and `mart_status` as it follows from it."""
        rows = {PUBLICATIONS: f"select * from {self.table}", MART_STATUS: self.status_of_marts()}
        for name, sql in rows.items():
            self._lake.replace(f"{self.schema}/{name}.parquet", parquet(self.engine, sql))

    def _pointers(self) -> list[str]:
        return self._lake.names(f"{self.schema}/published")
