"""Connecting to PostgreSQL, and the words we share about it."""

from __future__ import annotations

import re

import psycopg2
import psycopg2.extensions

from loader.destinations.sql import quote
from loader.errors import DatabaseUnreachable, QueryFailed
from loader.profile import Profile

# Entries of profiles.yml that are libpq's, under libpq's names.
_PASSED_ON = (
    "host",
    "port",
    "user",
    "sslmode",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "keepalives_idle",
)


def open_connection(profile: Profile, name: str) -> psycopg2.extensions.connection:
    """Connect as dbt would. Raises DatabaseUnreachable with what to do next.

    `name` is what pg_stat_activity calls us, unless the profile has another `application_name`.
    """
    try:
        connection = psycopg2.connect(psycopg2.extensions.make_dsn(**parameters(profile, name)))
    except psycopg2.OperationalError as error:
        raise _explain(error, profile) from None
    try:
        connection.set_client_encoding("UTF8")
        with connection.cursor() as cursor:
            # A server or role may have other defaults; what we print must not depend on them.
            cursor.execute("set datestyle = 'ISO, YMD'; set timezone = 'UTC'")
            if profile.text("role"):
                cursor.execute(f"set role {quote(profile.text('role'))}")
        connection.commit()
    except psycopg2.Error as error:
        connection.close()
        raise QueryFailed(where(profile), one_line(error)) from None
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        connection.close()
        raise DatabaseUnreachable(
            f"The database {profile.database!r} at {where(profile)} has the encoding {encoding}, "
            "and labmart needs UTF8. Make one (`createdb --encoding UTF8 --template template0 "
            "NAME`) and name it with PGDATABASE."
        )
    return connection


def parameters(profile: Profile, name: str) -> dict[str, str]:
    """What libpq needs to connect as dbt would, under libpq's names."""
    wanted = {key: profile.text(key) for key in _PASSED_ON} | {
        "password": profile.text("password") or profile.text("pass"),
        "dbname": profile.database,
        "connect_timeout": profile.text("connect_timeout") or "10",
        "application_name": profile.text("application_name") or name,
    }
    # What is not given is left to libpq, which looks into PGPASSWORD and ~/.pgpass.
    return {key: value for key, value in wanted.items() if value not in ("", "0")}


def _explain(error: psycopg2.OperationalError, profile: Profile) -> DatabaseUnreachable:
    """Say what keeps us from connecting. libpq gives no codes here, only its English sentences."""
    said = one_line(error)
    place, user = where(profile), profile.text("user")
    if "password" in said or "no pg_hba.conf entry" in said or "authentication failed" in said:
        return DatabaseUnreachable(
            f"The server {place} does not let {user!r} in: {said} "
            "Set PGPASSWORD, or put the password into ~/.pgpass; PGUSER names another user."
        )
    if re.search(r'database ".*" does not exist', said):
        name = profile.database
        return DatabaseUnreachable(
            f"The server {place} has no database {name!r}. Create it (`createdb {name}`), or name "
            "another one with PGDATABASE."
        )
    if re.search(r'role ".*" does not exist', said):
        return DatabaseUnreachable(
            f"The server {place} has no user {user!r}. Create it (`createuser {user}`), or name "
            "another one with PGUSER."
        )
    return DatabaseUnreachable(
        f"No PostgreSQL answers at {place}: {said} Start the server, or correct host and port "
        "(PGHOST, PGPORT, or profiles.yml). Without PGHOST labmart uses its own PostgreSQL."
    )


def where(profile: Profile) -> str:
    """The server in a person's words: host and port, or the socket's directory."""
    host = profile.text("host")
    return host if host.startswith("/") else f"{host}:{profile.text('port') or '5432'}"


def one_line(error: Exception) -> str:
    """The driver's message without its layout, ending with a full stop."""
    text = " ".join(str(error).split())
    # libpq puts the address, which our sentence names already, before each attempt (with and
    # without encryption, for each address of the host). The attempts mostly say the same.
    attempts = re.split(r"connection to server (?:at|on) .*? failed: ", text)
    said = dict.fromkeys(part.strip().removeprefix("FATAL: ").strip() for part in attempts)
    text = " ".join(part for part in said if part)
    return text if text.endswith((".", "?", "!")) else f"{text}."
