"""`labmart db status` in words."""

from __future__ import annotations

from pathlib import Path

from loader.embedded import Status


def describe(found: Status) -> list[str]:
    """The lines to print."""
    lines = [f"status   {'running' if found.running else 'stopped'}"]
    if found.pid is not None:
        lines.append(f"pid      {found.pid}")
    if found.version is not None:
        lines.append(f"version  PostgreSQL {found.version}")
    if found.uptime is not None:
        lines.append(f"uptime   {_duration(found.uptime)}")
    lines.append(f"data     {found.place.data}")
    if found.size is not None:
        lines.append(f"size     {found.size / 1024**2:,.0f} MB")
    lines.append(f"socket   {found.place.run}")
    lines.append(f"log      {found.place.log}")
    return lines


def describe_file(file: Path) -> list[str]:
    """The same of a database that is a file."""
    lines = [f"file     {file}"]
    if file.exists():
        return [*lines, f"size     {file.stat().st_size / 1024**2:,.0f} MB"]
    return [*lines, "size     not made yet"]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (rest, "s"))
    return " ".join(f"{amount} {unit}" for amount, unit in parts if amount) or "0 s"
