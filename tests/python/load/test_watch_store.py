"""A prefix of an object store is watched."""

from __future__ import annotations

import time

import pytest
from support.person import USERS, Person
from support.watching import watch

pytestmark = pytest.mark.slow


@pytest.fixture
def person(postgres_person: Person) -> Person:
    """Engines are told apart by the loader; here one is enough."""
    return postgres_person


@pytest.fixture
def incoming(s3_environment: str) -> str:
    """A prefix of a bucket."""
    assert s3_environment
    import s3fs

    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("watched")
    system.pipe("watched/incoming/users.csv", USERS.encode())
    system.pipe("watched/incoming/plate #1?/bad.csv", b"no table\n")
    return "s3://watched/incoming/"


def objects() -> list[str]:
    import s3fs

    found = s3fs.S3FileSystem(skip_instance_cache=True).find("watched/incoming")
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return sorted(path.removeprefix("watched/incoming/").replace(day, "DAY") for path in found)


def test_objects_are_loaded_once_and_move_where_it_is_asked_for(
    person: Person, incoming: str
) -> None:
    for _ in range(2):
        # What is refused and stays is read again by each call.
        assert watch(person, incoming).code == 3
    assert objects() == ["plate #1?/bad.csv", "users.csv"]
    assert person.rows("select load_id, file from raw.loads") == [
        (1, "s3://watched/incoming/users.csv")
    ]
    assert watch(person, incoming, "--move").code == 3
    assert objects() == [
        "loaded/DAY/users.csv",
        "rejected/DAY/plate #1?/bad.csv",
        "rejected/DAY/plate #1?/bad.csv.report.txt",
    ]
    assert watch(person, incoming, "--move").code == 0
    assert len(person.rows("select load_id from raw.loads")) == 1
