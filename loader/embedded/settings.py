"""A server's paths; a configuration fitted to this machine and to bulk work; who may connect.

The stock configuration assumes a machine of 1 GB. Both files are rewritten at every start, because
the machine, or the container's limits, may have changed. The user's own settings go to
.labmart/user.conf, which is read last and wins.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import psutil

from loader.engines import quote

PORT = 5432
_CLIENT_RULES = "labmart_hba.conf"


class ServerPaths:
    """The paths of one embedded server, all absolute."""

    def __init__(self, home: Path, run: Path) -> None:
        self.home = home
        self.run = run
        self.data = home / "data"
        self.log = home / "log" / "postgres.log"
        self.lock = home / "lock"
        self.user_settings = home / "user.conf"
        self.exposed = home / "exposed.json"
        self.socket = run / f".s.PGSQL.{PORT}"

    @property
    def owners(self) -> tuple[int, int]:
        """Who may own its files: us or, where root lets an account run it, that account."""
        return os.geteuid(), self.data.stat().st_uid if self.data.exists() else os.geteuid()


@dataclass(frozen=True)
class Exposure:
    """The port at which this machine's programs reach the server, and as which roles."""

    port: int
    roles: tuple[str, ...]


def exposure_of(paths: ServerPaths) -> Exposure | None:
    """What `labmart db expose` has opened, if anything."""
    try:
        return msgspec.json.decode(paths.exposed.read_bytes(), type=Exposure)
    except (OSError, msgspec.MsgspecError):
        return None


def keep_exposure(paths: ServerPaths, exposure: Exposure | None) -> None:
    """Remember it for the next start; None closes the port."""
    if exposure is None:
        paths.exposed.unlink(missing_ok=True)
    else:
        paths.exposed.write_bytes(msgspec.json.encode(exposure))


def client_rules(exposure: Exposure | None) -> str:
    """The text of labmart_hba.conf: the socket is its owner's, and a port requires passwords.

    No line admits anybody else from the network, whatever `listen_addresses` is set to.
    """
    lines = ["# Written by labmart at every start.", "local all all trust"]
    for role in exposure.roles if exposure else ():
        for ip in ("127.0.0.1/32", "::1/128"):
            lines.append(f"host labmart {quote(role)} {ip} scram-sha-256")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class Machine:
    """What the server may use: bytes of memory, cores, free bytes of disk and of /dev/shm."""

    memory: int
    cores: int
    free_disk: int
    free_shm: int | None


def this_machine(paths: ServerPaths) -> Machine:
    """Measure this machine, within a container's limits."""
    shm = Path("/dev/shm")
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # "max" means no limit.
    memory = [int(limit) for limit, *_ in _cgroups("memory.max") if limit.isdigit()]
    shares = [(quota, period) for quota, period in _cgroups("cpu.max") if quota.isdigit()]
    cores = [max(1, round(int(quota) / int(period))) for quota, period in shares]
    return Machine(
        memory=min([psutil.virtual_memory().total, *memory]),
        cores=min([allowed or 1, *cores]),
        free_disk=shutil.disk_usage(paths.home).free,
        free_shm=shutil.disk_usage(shm).free if shm.is_dir() else None,
    )


def _cgroups(name: str) -> Iterator[list[str]]:
    """The words of a limit in this process's cgroups (version 2), each of which may have it."""
    with suppress(OSError):
        own = Path("/proc/self/cgroup").read_text(encoding="utf-8").rpartition("::/")[2].strip()
        folder = Path("/sys/fs/cgroup") / own
        for file in (folder / name, *(above / name for above in folder.parents)):
            with suppress(OSError):
                yield file.read_text(encoding="ascii").split()


_SETTINGS = """\
# Written by labmart at every start, for this machine. Do not edit it:
# your own settings go to {shown}.
listen_addresses = {addresses}  # nobody reaches it through the network
hba_file = {rules}  # who may come in by which way
unix_socket_directories = {run}  # a directory only its owner enters
unix_socket_permissions = 0700  # and the socket itself is its owner's, too
max_connections = 50  # dbt's threads, the command, a few people
shared_buffers = {buffers}MB  # the tables of one build stay in it
work_mem = {work}MB  # few, big sorts and hashes: they fit without spilling
hash_mem_multiplier = 1  # work_mem is large already; twice that could exhaust memory
maintenance_work_mem = {maintenance}MB  # indexes are built in memory
effective_cache_size = {cache}MB  # what the file cache really holds
wal_level = minimal  # a table filled in the transaction that made it skips the log
max_wal_senders = 0  # required by wal_level = minimal; there is no replica
max_wal_size = {wal}MB  # no checkpoint amid a build; a tenth of the free disk at most
checkpoint_timeout = 30min  # likewise
jit = off  # compiling costs more than it saves on these queries
random_page_cost = 1.1  # the disk is an SSD, or the data is in memory
parallel_tuple_cost = 0.001  # lets big joins run in parallel although rows are many
max_parallel_workers_per_gather = {cores}  # one big query uses the machine
max_parallel_workers = {parallel}  # two models at once may both run in parallel
max_worker_processes = {workers}  # the above and the server's own
autovacuum = on  # statistics keep up with the tables
fsync = on  # what was committed survives a power cut
synchronous_commit = on  # likewise
log_timezone = 'UTC'  # the same log everywhere
timezone = 'UTC'  # the same results everywhere
log_line_prefix = '%m [%p] '  # when, and which process
"""


def render(machine: Machine, paths: ServerPaths) -> str:
    """The text of labmart.conf."""
    memory, cores = machine.memory >> 20, machine.cores
    work = max(16, memory // 24)
    text = _SETTINGS.format(
        shown=str(paths.user_settings).replace("\n", " "),
        addresses="'127.0.0.1'" if exposure_of(paths) else "''",
        rules=_quoted(str(paths.data / _CLIENT_RULES)),
        # One item of a list of names: double quotes keep commas, spaces and capitals.
        run=_quoted(quote(str(paths.run))),
        buffers=max(1, min(8 << 10, memory // 6)),
        work=work,
        maintenance=max(64, memory // 24),
        cache=max(1, memory * 2 // 3),
        wal=min(16 << 10, max(1 << 10, (machine.free_disk >> 20) // 10)),
        cores=cores,
        parallel=2 * cores,
        workers=2 * cores + 4,
    )
    # Parallel hash joins put their table into shared memory; /dev/shm is 64 MB in Docker.
    if machine.free_shm is not None and machine.free_shm >> 20 < 4 * work:
        text += "dynamic_shared_memory_type = mmap  # /dev/shm is too small here\n"
    if paths.user_settings.exists():
        text += f"include = {_quoted(str(paths.user_settings))}  # a person's own settings\n"
    return text


def write_settings(paths: ServerPaths, machine: Machine) -> list[Path]:
    """Write both files into the data directory and make postgresql.conf include the settings."""
    texts = {
        paths.data / "labmart.conf": render(machine, paths),
        paths.data / _CLIENT_RULES: client_rules(exposure_of(paths)),
    }
    for path, text in texts.items():
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
    main = paths.data / "postgresql.conf"
    include = "include = 'labmart.conf'"
    text = main.read_text(encoding="utf-8")
    if include not in text.splitlines():
        main.write_text(f"{text}\n{include}\n", encoding="utf-8")
    return list(texts)


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "''") + "'"
