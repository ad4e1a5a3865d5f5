"""Nothing is lost: every record of random files, legal or damaged, has a fate that is told."""

from __future__ import annotations

import pytest
from support.accounts import account_of


@pytest.mark.parametrize(
    ("lines", "seed"),
    [
        (10_000, 1),
        pytest.param(1_000_000, 2, marks=pytest.mark.prove("a million lines take minutes")),
    ],
)
def test_every_record_is_accounted_for(lines: int, seed: int) -> None:
    fates = account_of(lines, seed)
    assert fates["lost"] == fates["made up"] == 0
    told = ("read to the letter", "rejected with their line", "refused with their file")
    assert all(fates[fate] for fate in told)
    assert sum(fates[fate] for fate in (*told, "in lines that a warning names")) == fates["records"]
