"""What goes wrong before a migration can do its work, as sentences: no server, a refused login, a missing right."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from alembic.script.revision import MultipleHeads
from alembic.util import CommandError
from asyncpg import PostgresError
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from service.errors import SetupError, Unavailable

WRONG_LOGIN = ("28P01", "28000")
NO_DATABASE = "3D000"
NO_RIGHT = "42501"
NOT_NOW = ("53300", "57P03")
LOCKED = ("55P03", "40P01")
POOLED = ("26000", "42P05")
"""A prepared statement that isn't there, or is there already: another session's."""
ADVICE = {
    **dict.fromkeys(WRONG_LOGIN, "Correct the user and password in DATABASE_URL."),
    NO_DATABASE: "Create it (`createdb`), or correct DATABASE_URL.",
    **dict.fromkeys(NOT_NOW, "Try again in a moment."),
    **dict.fromkeys(LOCKED, "Nothing was done. Run this again when whoever uses what it changes has ended."),
    **dict.fromkeys(POOLED, "A pooler seems to stand between. Set DATABASE_URL_DIRECT to the same database past it."),
}
NOT_INSTALLED = re.compile(r'extension "(\S+)" is not available')
INSTALL = (
    "Nothing of this migration was done. Install the package of {0} on the server of the database, or use a server that has it: "
    "SELECT name FROM pg_available_extensions lists what one has."
)
# What a refusal says -> what would allow it, of a role and of what is named there.
GRANTS = (
    (re.compile(r"permission denied for schema (\S+)"), "GRANT USAGE, CREATE ON SCHEMA {1} TO {0}"),
    (re.compile(r"permission denied for database (\S+)"), "GRANT CREATE ON DATABASE {1} TO {0}"),
    (re.compile(r"must be owner of (?:table|relation) (\S+)"), "ALTER TABLE {1} OWNER TO {0}"),
    (re.compile(r"must be owner of index (\S+)"), "ALTER TABLE (the one of {1}) OWNER TO {0}"),
    (re.compile(r"must be owner of (\w+) (\S+)"), "ALTER {1} {2} OWNER TO {0}"),
    (
        re.compile(r"permission denied for (?:table|relation) (\S+)"),
        "GRANT SELECT ON {1} TO {0} lets it look, ALTER TABLE {1} OWNER TO {0} lets it migrate",
    ),
    (
        re.compile(r"permission denied to create temporary tables in database (\S+)"),
        "GRANT TEMPORARY ON DATABASE {1} TO {0}; PostgreSQL writes the models' definitions in temporary tables",
    ),
    (re.compile(r"permission denied to create extension (\S+)"), "CREATE EXTENSION {1}, once; it is then left as it is"),
)


@contextmanager
def in_sentences(url: str | None) -> Iterator[None]:
    """Turn the failures that a person can mend into a `SetupError`; all others pass through with their trace.

    Args:
        url: the database's URL, for the message, which never shows the password; None where a connection was handed over.
    """
    try:
        yield
    except CommandError as error:
        raise SetupError(_refused(error)) from error
    except (OSError, PostgresError, DBAPIError, Unavailable) as error:
        sentence = _sentence(error, url)
        if sentence is None:
            raise
        raise SetupError(sentence) from error


def _sentence(error: BaseException, url: str | None) -> str | None:
    found = (
        (error.__cause__ or error) if isinstance(error, Unavailable) else error
    )  # what a client of the API is told names no server
    cause = found.orig if isinstance(found, DBAPIError) else found
    state = getattr(cause, "sqlstate", None) or ""
    advice = _right(said(cause), url) if state == NO_RIGHT else ADVICE.get(state)
    if lacks := NOT_INSTALLED.match(said(cause)):
        advice = INSTALL.format(lacks[1])
    if advice is not None:
        return f"PostgreSQL{_place(url)} refuses: {said(cause)}. {advice}"
    if isinstance(cause, OSError):
        return f"PostgreSQL{_place(url)} can't be reached: {said(cause)}. Start it, or correct DATABASE_URL."
    return None


def _refused(error: CommandError) -> str:
    """Why Alembic refuses, and what to do."""
    cause = error.__cause__
    if isinstance(cause, MultipleHeads):
        return (
            f"There are several newest migrations, written side by side: {', '.join(cause.heads)}. Nothing was done. Join them "
            "(alembic merge heads -m 'join'), and run this again."
        )
    told = f"{error}.".replace("..", ".")
    return f"{told} `alembic history` lists those that there are." if "Can't locate revision" in told else told


def _right(refusal: str, url: str | None) -> str:
    """Which role lacks a right, and what would give it to it."""
    role = (make_url(url).username if url else None) or "the one that connects"
    told = f"It needs a role that may do this, and {role} may not. Nothing of it was done."
    for pattern, grant in GRANTS:
        if found := pattern.search(refusal):
            return f"{told} An administrator can mend that: {grant.format(role, *found.groups())}."
    return f"{told} See docs/operations.md for what such a role needs."


def said(cause: BaseException | None) -> str:
    """The server's first line, without the driver's class names in front."""
    text = str(cause).strip() or type(cause).__name__
    return text.splitlines()[0].rpartition(">: ")[2].rstrip(".")


def _place(url: str | None) -> str:
    if url is None:
        return ""
    parts = make_url(url)
    where = parts.host or parts.query.get("host") or "the local socket"
    return f" at {where}:{parts.port}" if parts.port else f" at {where}"
