"""As whom the server's programs run: PostgreSQL refuses root.

An ordinary user runs them as itself. For root there are these ways, and the first that can reach
the project is taken:

1. A user namespace in which root appears as an unprivileged user (`unshare` of util-linux). For
   the rest of the system the programs are root's and so are their files; nothing is changed and
   a project in a closed directory works. Forbidden in many containers (Docker's default).
2. The owner of the project's directory, if that is an ordinary user.
3. An existing unprivileged account: `postgres`, else `nobody`.

In the ways 2 and 3 the data and socket directories are given to the account. Directories above
the project are never opened for it. LABMART_DB_ACCOUNT=<account> asks for an account. A data
directory that belongs to an account is always run as that account.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from loader.embedded.paths import Place
from loader.errors import EmbeddedError, NotTraversable

ACCOUNT_VARIABLE = "LABMART_DB_ACCOUNT"


@dataclass(frozen=True)
class Account:
    """How to start a program of the server.

    `prefix` goes before the program. `user` and `group` are what the child becomes, or None to
    stay who we are.
    """

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None
    name: str = ""

    @property
    def owner(self) -> int:
        """The uid that the files of the server have, as seen from here."""
        return os.geteuid() if self.user is None else self.user

    def popen(
        self, command: list[str], *, output: int, env: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start the program detached: no terminal, no signals meant for us, no open files."""
        return subprocess.Popen(
            [*self.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=env,
            cwd="/",
            start_new_session=True,
            user=self.user,
            group=self.group,
            extra_groups=None if self.user is None else [],
            # The server makes files that only it can read, whoever starts it.
            umask=0o077,
        )


def choose_account(place: Place, program: Path) -> Account:
    """Decide as whom the server of this place runs. Raises EmbeddedError."""
    owner = place.data.stat().st_uid if place.data.exists() else None
    if os.geteuid() != 0:
        if owner is not None and owner != os.geteuid():
            raise EmbeddedError(
                f"{place.data} belongs to {_name_of(owner)}, and only that user can start it. "
                "Call labmart as that user, or use a clone of your own."
            )
        return Account()
    refusal: NotTraversable | None = None
    for candidate in _for_root(place, owner):
        refusal = _refusal(candidate, place, program)
        if refusal is None:
            return candidate
    raise refusal or EmbeddedError("PostgreSQL does not run as root.")


def give(account: Account, path: Path) -> None:
    """Give a tree to the account that runs the server, if it is not its owner yet."""
    if account.user is None or account.group is None or path.stat().st_uid == account.user:
        return
    for entry in (*path.rglob("*"), path):
        os.chown(entry, account.user, account.group, follow_symlinks=False)


def _for_root(place: Place, owner: int | None) -> list[Account]:
    named = os.environ.get(ACCOUNT_VARIABLE)
    if named:
        return [_of_account(_entry(named))]
    if owner:
        return [_of_account(_entry(owner))]
    candidates = []
    in_namespace = _in_user_namespace()
    if in_namespace:
        candidates.append(in_namespace)
    project_owner = place.home.parent.stat().st_uid
    if project_owner and _is_known(project_owner):
        candidates.append(_of_account(_entry(project_owner)))
    return [*candidates, _of_account(_unprivileged())]


def _in_user_namespace() -> Account | None:
    unshare = shutil.which("unshare")
    if unshare is None:
        return None
    entry = _unprivileged()
    identity = (f"--map-user={entry.pw_uid}", f"--map-group={entry.pw_gid}")
    prefix = (unshare, "--user", *identity, "--")
    probe = subprocess.run([*prefix, "true"], capture_output=True, check=False)
    return Account(prefix=prefix, name="root without privileges") if probe.returncode == 0 else None


def _refusal(account: Account, place: Place, program: Path) -> NotTraversable | None:
    """What keeps the account from program, data or socket: a directory that it cannot enter."""
    wanted = {program.parent, place.home.parent}
    if place.run.parent != place.home:
        wanted.add(place.run.parent)
    for end in wanted:
        for directory in (*reversed(end.parents), end):
            if not _may_enter(directory, account):
                return NotTraversable(directory, account.name, end)
    return None


def _may_enter(directory: Path, account: Account) -> bool:
    # In a user namespace the process is root's, but without root's power to pass everywhere.
    user, group = account.user or 0, account.group or 0
    found = directory.stat()
    if found.st_uid == user:
        return bool(found.st_mode & 0o100)
    if found.st_gid == group:
        return bool(found.st_mode & 0o010)
    return bool(found.st_mode & 0o001)


def _unprivileged() -> pwd.struct_passwd:
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return entry
    raise EmbeddedError(
        "PostgreSQL does not run as root, and this system has neither an account `postgres` nor "
        f"`nobody` to run it as. Name one with {ACCOUNT_VARIABLE}, or a server of your own with "
        "PGHOST."
    )


def _entry(who: str | int) -> pwd.struct_passwd:
    try:
        entry = pwd.getpwnam(who) if isinstance(who, str) else pwd.getpwuid(who)
    except KeyError:
        raise EmbeddedError(
            f"There is no account {who} to run the embedded PostgreSQL as. "
            f"Name an existing one with {ACCOUNT_VARIABLE}."
        ) from None
    if entry.pw_uid == 0:
        raise EmbeddedError(f"{ACCOUNT_VARIABLE} names root, but PostgreSQL does not run as root.")
    return entry


def _of_account(entry: pwd.struct_passwd) -> Account:
    return Account(user=entry.pw_uid, group=entry.pw_gid, name=entry.pw_name)


def _is_known(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


def _name_of(uid: int) -> str:
    return pwd.getpwuid(uid).pw_name if _is_known(uid) else f"uid {uid}"
