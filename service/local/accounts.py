"""Which user the servers run as: the one who runs the command, but never root, whom PostgreSQL refuses."""

import os
import pwd
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import SetupError

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
"""All that the servers and their tools see: a PGDATA, PGOPTIONS or LANG of the caller's would change what they do."""
UNPRIVILEGED = "nobody"
ROOT = 0


@dataclass(frozen=True)
class Account:
    """A user of this machine.

    Attributes:
        uid: its number.
        gid: the number of its main group.
        switch: whether a process must change to it: true for root only.
    """

    uid: int
    gid: int
    switch: bool

    def arguments(self) -> dict[str, Any]:
        """What `subprocess` needs to run a program as this user, in the servers' environment."""
        changed = {"user": self.uid, "group": self.gid, "extra_groups": []} if self.switch else {}
        return {"env": ENVIRONMENT, "umask": 0o077, **changed}

    def reaches(self, path: Path) -> bool:
        """Whether this user may enter the directory, or run the program, at `path`: all parents must let it through.

        Raises:
            SetupError: root can't act as this user, as in some containers.
        """
        command = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        try:
            done = subprocess.run(command, check=False, cwd="/", **self.arguments())  # noqa: S603 a fixed command
        except OSError as error:
            raise SetupError(
                f"PostgreSQL doesn't run as root, and this machine doesn't let root run it as user {name(self.uid)} "
                f"({error.strerror}). Run the command as an ordinary user."
            ) from error
        return bool(done.returncode == 0)

    def own(self, path: Path) -> None:
        """Give a directory that was just made to this user."""
        if self.switch:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)


def for_new() -> Account:
    """The user that makes new data.

    Raises:
        SetupError: root runs the command and the machine has no user `nobody`.
    """
    if os.geteuid() != ROOT:
        return Account(os.geteuid(), os.getegid(), switch=False)
    try:
        entry = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise SetupError(
            f"PostgreSQL doesn't run as root, and this machine has no user {UNPRIVILEGED!r} to run it as. "
            "Run the command as an ordinary user."
        ) from None
    return Account(entry.pw_uid, entry.pw_gid, switch=True)


def for_existing(data: Path) -> Account:
    """The user that the data belong to: the servers must run as that one.

    Raises:
        SetupError: the person who runs the command is neither that user nor root.
    """
    found = data.stat()
    if found.st_uid in {os.geteuid(), ROOT}:
        return for_new()
    if os.geteuid() != ROOT:
        raise SetupError(
            f"The data in {data} belong to user {name(found.st_uid)}. Run the command as that user or as root, "
            "or set SHELFMARK_DIRECTORY to a directory of your own."
        )
    return Account(found.st_uid, found.st_gid, switch=True)


def name(uid: int) -> str:
    """A user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
