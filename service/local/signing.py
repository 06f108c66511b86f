"""The secret that signs cursors under `shelfmark up`, so that a newcomer need not make one."""

import os
import secrets
from pathlib import Path

from service.local.held import turn
from service.local.places import explained, make

BYTES = 32


def secret(directory: Path) -> str:
    """The secret kept in `directory`, 64 hexadecimal digits: made at the first call, readable by its owner alone.

    Raises:
        SetupError: the directory can't be written.
    """
    directory = directory.resolve()
    with explained(directory):
        make(directory)
        with turn(directory / "lock"):
            return _kept(directory / "secret") or _made(directory / "secret")


def _kept(path: Path) -> str | None:
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        return None
    path.chmod(0o600)
    return found if len(found) >= 2 * BYTES else None


def _made(path: Path) -> str:
    """Write a new one under another name first: a secret is there whole or not at all."""
    made = secrets.token_hex(BYTES)
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(made + "\n")
    new.replace(path)
    return made
