"""Whether the database is at the revision that this code was written for.

The code's revisions are read off the files of alembic/versions/: to import Alembic for that would cost each process its memory.
"""

import ast
import re
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

import service
from service.db import Database
from service.errors import Problem

STAMPED = text("SELECT version_num FROM alembic_version")
NAMED = re.compile(r"^(revision|down_revision)\b[^=\n]*= (.+)$", re.MULTILINE)


async def differing(database: Database) -> list[str]:
    """A sentence where the database is at another revision than the code; none where that can't be known."""
    known, newest = revisions(_versions())
    try:
        async with database.aside() as session:
            stamped = frozenset(await session.scalars(STAMPED))
    except (Problem, DBAPIError):
        return []
    if not newest or stamped == newest:
        return []
    standing, wanted = _listed(stamped), _listed(newest)
    if stamped <= known:
        return [f"the database is at revision {standing}, this code at {wanted}: run `shelfmark migrate`"]
    return [f"the database is at revision {standing}, which this code doesn't know: newer code has migrated it"]


@cache
def revisions(directory: Path) -> tuple[frozenset[str], frozenset[str]]:
    """The revisions of a directory, and those of them that no other follows."""
    named = [dict(NAMED.findall(path.read_text())) for path in sorted(directory.glob("*.py"))]
    followed = {one for found in named for one in _several(found.get("down_revision", "None"))}
    known = frozenset(one for found in named for one in _several(found.get("revision", "None")))
    return known, known - followed


def _several(literal: str) -> tuple[str, ...]:
    value = ast.literal_eval(literal)
    return (value,) if isinstance(value, str) else tuple(value or ())


def _versions() -> Path:
    """Beside the package in a checkout, else in the working directory, as for `shelfmark migrate`."""
    places = [place / "alembic" / "versions" for place in (Path(service.__file__).parents[1], Path.cwd())]
    return next((place for place in places if place.is_dir()), places[0])


def _listed(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"
