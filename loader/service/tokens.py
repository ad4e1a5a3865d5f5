"""Tokens: made, listed, revoked, found.

A token is 256 random bits, so a plain SHA-256 of it is kept: nobody finds the token by trying,
which is what slow hashes make hard for passwords. The hash is what is looked up, so the time that
takes tells nothing of the tokens.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

import psycopg.errors

from loader.errors import UsageError
from loader.service.database import Connection, Pool

Role = Literal["read", "load", "admin"]
ROLES: tuple[Role, ...] = ("read", "load", "admin")
# By it a secret scanner can tell a labmart token in a log or a repository.
_PREFIX = "labmart_"
_BYTES = 32
# Of a token that somebody else has made: characters.
SHORTEST = 32
# The one that --token-file brings.
_FROM_FILE = "token-file"


@dataclass(frozen=True)
class Caller:
    """Who sent a request; `name` is the token's."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether the caller has that role or a greater one."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Token:
    """What is known of a token."""

    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def state(self) -> str:
        """Whether it can be used, in a word."""
        if self.revoked_at is not None:
            return "revoked"
        expired = self.expires_at is not None and self.expires_at <= datetime.now(UTC)
        return "expired" if expired else "valid"


def create(
    connection: Connection, name: str, role: Role, *, expires: timedelta | None = None
) -> str:
    """Make a token; it cannot be read again. Raises UsageError for a name that is taken."""
    token = _PREFIX + secrets.token_urlsafe(_BYTES)
    try:
        connection.execute(
            "insert into tokens (name, role, hash, expires_at) "
            "values (%s, %s, %s, clock_timestamp() + %s)",
            (name, role, _hash(token), expires),
        )
    except psycopg.errors.UniqueViolation:
        raise UsageError(
            f"There is a token {name!r} already. Choose another name; who has lost a token "
            "revokes it and makes a new one."
        ) from None
    return token


def keep(connection: Connection, token: str) -> None:
    """Let a token that a file has brought be the administrator's, in place of the former one."""
    connection.execute(
        "insert into tokens (name, role, hash) values (%s, 'admin', %s) "
        "on conflict (name) do update set hash = excluded.hash, revoked_at = null",
        (_FROM_FILE, _hash(token)),
    )


def tokens(connection: Connection) -> list[Token]:
    """All tokens by name."""
    rows = connection.execute(
        "select name, role, created_at, expires_at, revoked_at from tokens order by name"
    )
    return [Token(**row) for row in rows]


def revoke(connection: Connection, name: str) -> None:
    """Let a token count no more. Raises UsageError for an unknown one."""
    done = connection.execute(
        "update tokens set revoked_at = coalesce(revoked_at, clock_timestamp()) where name = %s",
        (name,),
    )
    if not done.rowcount:
        raise UsageError(f"There is no token {name!r}. `labmart token list` lists them.")


async def find(pool: Pool, token: str) -> Caller | None:
    """Whose token that is; None for one that is unknown, expired or revoked."""
    wanted = _hash(token)
    async with pool.connection() as connection:
        found = await connection.execute(
            "select name, role, hash from tokens where hash = %s and revoked_at is null "
            "and (expires_at is null or expires_at > clock_timestamp())",
            (wanted,),
        )
        row = await found.fetchone()
    if row is None or not hmac.compare_digest(bytes(row["hash"]), wanted):
        return None
    return Caller(row["name"], row["role"])


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
