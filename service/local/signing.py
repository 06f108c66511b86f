"""The secret that signs cursors and API keys under `shelfmark up`, so that a newcomer need not make one."""

import secrets
from pathlib import Path

from service.local import private
from service.local.held import turn
from service.local.places import explained, make
from service.settings import Settings

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


def signing(settings: Settings) -> tuple[bytes, ...]:
    """The secrets that are set, newest first; else the one of the `shelfmark up` whose database is used.

    Raises:
        SetupError: none is set, and the database is another one.
    """
    if settings.secrets or settings.database_url:
        return settings.signing()
    return (secret(settings.directory).encode(),)


def _kept(path: Path) -> str | None:
    found = private.read(path)
    return found if found and len(found) >= 2 * BYTES else None


def _made(path: Path) -> str:
    made = secrets.token_hex(BYTES)
    private.write(path, made)
    return made
