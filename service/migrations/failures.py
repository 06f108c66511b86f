"""What goes wrong before a migration can do its work, as sentences: no server, a refused login, a missing right."""

from collections.abc import Iterator
from contextlib import contextmanager

from alembic.util import CommandError
from asyncpg import PostgresError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError

WRONG_LOGIN = ("28P01", "28000")
NO_DATABASE = "3D000"
NO_RIGHT = "42501"
NOT_NOW = ("53300", "57P03")
ADVICE = {
    **dict.fromkeys(WRONG_LOGIN, "Correct the user and password in DATABASE_URL."),
    NO_DATABASE: "Create it (`createdb`), or correct DATABASE_URL.",
    NO_RIGHT: (
        "Migrations need a role that may create in the schema; an extension that it may not create, an administrator can "
        "create once, and it is then left as it is."
    ),
    **dict.fromkeys(NOT_NOW, "Try again in a moment."),
}


@contextmanager
def in_sentences(url: str | None) -> Iterator[None]:
    """Turn the failures that a person can mend into a `SetupError`; all others pass through with their trace.

    Args:
        url: the database's URL, for the message, which never shows the password; None where a connection was handed over.
    """
    try:
        yield
    except CommandError as error:
        raise SetupError(f"{error}.".replace("..", ".")) from error
    except (OSError, PostgresError, DBAPIError) as error:
        sentence = _sentence(error, url)
        if sentence is None:
            raise
        raise SetupError(sentence) from error


def _sentence(error: Exception, url: str | None) -> str | None:
    cause = error.orig if isinstance(error, DBAPIError) else error
    advice = ADVICE.get(getattr(cause, "sqlstate", None) or "")
    if advice is not None:
        return f"PostgreSQL{_place(url)} refuses: {_said(cause)}. {advice}"
    if isinstance(cause, OSError):
        return f"PostgreSQL{_place(url)} can't be reached: {_said(cause)}. Start it, or correct DATABASE_URL."
    return None


def _said(cause: BaseException | None) -> str:
    """The server's first line, without the driver's class names in front."""
    text = str(cause).strip() or type(cause).__name__
    return text.splitlines()[0].rpartition(">: ")[2].rstrip(".")


def _place(url: str | None) -> str:
    if url is None:
        return ""
    parts = make_url(url)
    where = parts.host or parts.query.get("host") or "the local socket"
    return f" at {where}:{parts.port}" if parts.port else f" at {where}"
