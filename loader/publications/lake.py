"""Publications in the lake; see the package.

dbt publishes a run in which nothing has failed by a file that names its relations. Here it is only
known whether anything has changed since, and what nobody reads any more is deleted.
"""

from __future__ import annotations

import json
from contextlib import suppress

from loader.engines.lake import lake_of, tidy_builds
from loader.profile import Profile
from loader.publications import Publications


class LakePublications(Publications):
    """See `Publications`. A build of another machine is a publication, too."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self._lake = lake_of(profile)
        self._record = f"{profile.schema}/last_build.json"
        self._loaded: list[str] = []

    def is_current(self, code: str) -> bool:
        """See `Publications`."""
        record = self._lake.read(self._record)
        with suppress(ValueError):
            return record is not None and bool(json.loads(record) == self._state(code))
        return False

    def begin(self) -> str:
        """See `Publications`."""
        self._lake.delete(self._record)
        # What is loaded from now on, this build may have seen or not.
        self._loaded = self._entries()
        return ""

    def keep(self, code: str | None) -> None:
        """The build was green; deletes the builds that nobody reads any more."""
        if code is not None and self._loaded == self._entries():
            self._lake.replace(self._record, json.dumps(self._state(code)).encode())
        tidy_builds(self._profile)

    def _entries(self) -> list[str]:
        return self._lake.names(f"{self._profile.raw_schema}/loads")[-1:]

    def _state(self, code: str) -> list[object]:
        publications = self._lake.names(f"{self._profile.schema}/published")
        return [code, self._entries(), publications[-1:], self._lake.location]
