"""Where the servers keep their data and sockets, and the record of it.

Everything stands in one directory (`.shelfmark/`), with two exceptions. Root's servers run as another user; if that user can't get
into the directory (as below /root), the data stand under /var/lib/shelfmark. And the path of a socket may have 107 bytes; sockets
whose path would be longer stand in a short directory below /tmp. Permissions of a directory that isn't ours are never changed.
"""

import hashlib
import json
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import SetupError
from service.local import accounts
from service.local.accounts import ROOT, Account

OUTSIDE = Path("/var/lib/shelfmark")
"""Not /var/tmp: systemd empties that of what was not touched for 30 days."""
SHORT = Path("/tmp")  # noqa: S108 a directory of our own is made in it, and checked
SOCKET_BYTES = 107 - len("/.s.PGSQL.5432")
PLAIN = re.compile(r"[A-Za-z0-9_./-]+")
"""Paths that need no quoting in a URL, which drivers unquote differently."""
RECORD = "places.json"


@dataclass(frozen=True)
class Places:
    """Where one pair of servers lives.

    Attributes:
        directory: what the person named: locks, logs, the record, the secret.
        data: the servers' own directory, which only their user can enter.
        sockets: the directory of both sockets, likewise.
        account: the user that the servers run as.
    """

    directory: Path
    data: Path
    sockets: Path
    account: Account


@contextmanager
def explained(directory: Path) -> Iterator[None]:
    """Turn what the system refuses into a sentence for the person who named `directory`."""
    try:
        yield
    except OSError as error:
        what = f"{error.filename or directory}: {error.strerror or error}"
        raise SetupError(
            f"The servers' directory {directory} can't be used ({what}). Make room or give access, "
            "or set SHELFMARK_DIRECTORY to another directory."
        ) from error


def make(directory: Path) -> None:
    """Make the directory unless it is there.

    Raises:
        SetupError: something else stands there.
    """
    if directory.is_dir():
        return
    try:
        _make_open(directory)
    except FileExistsError:
        raise SetupError(
            f"{directory} is a file, but the servers need a directory of that name. Rename the file, "
            "or set SHELFMARK_DIRECTORY to another directory."
        ) from None


def recorded(directory: Path) -> Places | None:
    """Where the servers of this directory were last, or None if they never ran."""
    found = _record(directory)
    if found is None or not (directory / found["data"]).is_dir():
        return None
    data = directory / found["data"]
    return Places(directory, data, directory / found["sockets"], accounts.for_existing(data))


def arrange(directory: Path) -> Places:
    """Find or make the places of servers that don't run, and record them.

    Raises:
        SetupError: the data can't be reached by their user, or a directory isn't private.
    """
    data, account = _data(directory)
    _make_private(data, account)
    sockets = _sockets(data)
    _make_private(sockets, account)
    places = Places(directory, data, sockets, account)
    _keep(places)
    return places


def _data(directory: Path) -> tuple[Path, Account]:
    found = _record(directory)
    inside, outside = directory / "data", OUTSIDE / _digest(directory)
    candidates = [directory / found["data"]] if found else []
    existing = next((path for path in [*candidates, inside, outside] if path.is_dir()), None)
    if existing is None:
        account = accounts.for_new()
        return (inside if account.reaches(directory) else outside), account
    account = accounts.for_existing(existing)
    if not account.reaches(existing.parent):
        raise SetupError(
            f"The data in {existing} belong to user {accounts.name(account.uid)}, who can't get into {existing.parent} any more. "
            "Let that user through the directories above, or move the data away to begin anew."
        )
    return existing, account


def _sockets(data: Path) -> Path:
    inside = data / "sockets"
    fits = len(os.fsencode(inside)) <= SOCKET_BYTES and PLAIN.fullmatch(str(inside))
    return inside if fits else SHORT / f"shelfmark-{_digest(data)}"


def _digest(path: Path) -> str:
    return hashlib.sha256(os.fsencode(f"{os.geteuid()} {path}")).hexdigest()[:16]


def _make_private(path: Path, account: Account) -> None:
    if OUTSIDE in path.parents:
        make(OUTSIDE)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        pass
    else:
        account.own(path)
    found = path.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.uid or found.st_mode & 0o077:
        raise SetupError(
            f"{path} must be a directory that belongs to user {accounts.name(account.uid)} alone (mode 700). "
            "Correct its owner and mode if it is yours, else remove it; then run the command again."
        )


def _make_open(directory: Path) -> None:
    """Make a directory that, when root makes it, the servers' user can pass through."""
    directory.mkdir(parents=True, mode=0o700, exist_ok=True)  # another command may make it in the same moment
    if os.geteuid() == ROOT:
        directory.chmod(0o711)


def _record(directory: Path) -> dict[str, Any] | None:
    """The record as it was written: paths below the directory are relative, so that a project can be moved."""
    try:
        found = json.loads((directory / RECORD).read_text())
    except FileNotFoundError:
        return None
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(found.get(key), str) for key in ("data", "sockets")):
        raise SetupError(
            f"{directory / RECORD}, which says where the data are, can't be read. Remove it; the data stay where they are."
        )
    return found


def _keep(places: Places) -> None:
    lines = {key: _relative(getattr(places, key), places.directory) for key in ("data", "sockets")}
    new = places.directory / f"{RECORD}.new"
    new.write_text(json.dumps(lines, indent=2) + "\n")
    new.replace(places.directory / RECORD)


def _relative(path: Path, directory: Path) -> str:
    return str(path.relative_to(directory) if path.is_relative_to(directory) else path)
