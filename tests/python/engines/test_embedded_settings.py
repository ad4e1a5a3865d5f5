"""The configuration of the embedded PostgreSQL, fitted to the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.embedded import ask

from loader.embedded import Place, start
from loader.embedded.settings import Machine, render, this_machine

GIB = 1024**3


def machine(memory: int, cores: int = 2, *, disk: int = 900, shm: int | None = 12) -> Machine:
    return Machine(memory * GIB, cores, disk * GIB, None if shm is None else shm * GIB)


def setting(text: str, name: str) -> str:
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return line.split("=", 1)[1].split("#")[0].strip()


def test_settings_follow_memory_cores_and_disk(empty_place: Place) -> None:
    text = render(machine(24), empty_place)
    assert setting(text, "shared_buffers") == "4096MB"
    assert setting(text, "work_mem") == "1024MB"
    assert setting(text, "max_parallel_workers") == "4"
    assert setting(text, "max_wal_size") == "16384MB"
    assert "dynamic_shared_memory_type" not in text
    assert setting(render(machine(512, 64), empty_place), "shared_buffers") == "8192MB"
    assert setting(render(machine(24, disk=20), empty_place), "max_wal_size") == "2048MB"
    assert setting(render(machine(24, shm=0), empty_place), "dynamic_shared_memory_type") == "mmap"
    assert "dynamic_shared_memory_type" not in render(machine(24, shm=None), empty_place)


@pytest.mark.slow
def test_the_server_accepts_every_setting_on_a_small_machine_with_small_shm(
    place: Place,
) -> None:
    text = render(machine(1, 1, disk=5, shm=0), place)
    place.user_settings.write_text(
        "\n".join(line for line in text.splitlines() if not line.startswith("include"))
    )
    start(place)
    assert ask(place, "show dynamic_shared_memory_type") == "mmap"
    assert ask(place, "select count(*) from pg_file_settings where error is not null") == 0


def test_the_machine_is_measured(tmp_path: Path) -> None:
    found = this_machine(Place(home=tmp_path, run=tmp_path))
    assert found.memory > 100 * 1024**2
    assert 1 <= found.cores <= (os.cpu_count() or 1)
