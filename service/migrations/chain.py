"""The chain of migrations, looked at before anything is done: whether it is whole, and whether the database stands on it."""

import re
import warnings
from collections.abc import Iterable
from pathlib import Path

from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from alembic.util import CommandError

from service.errors import SetupError

REFERENCED = re.compile(r"Revision (?P<missing>\S+) referenced from (?P<by>\S+ -> \S+)")
TWICE = re.compile(r"Revision (?P<revision>\S+) is present more than once")


def refuse_broken(script: ScriptDirectory) -> None:
    """See that each migration has the one that it follows, once.

    Raises:
        SetupError: a file is missing, stands there twice, or they follow each other in a circle.
    """
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        try:
            script.get_heads()
        except (KeyError, CommandError, RevisionError) as error:
            raise SetupError(_broken(warned, error, _folder(script))) from error
    for message in map(_text, warned):
        if found := TWICE.match(message):
            raise SetupError(
                f"Two files in {_folder(script)} call themselves the migration {found['revision']}. Nothing was done. "
                "Remove one of them, or give it a revision of its own."
            )


def refuse_ahead(script: ScriptDirectory, standing: Iterable[str]) -> None:
    """See that the code has the migrations that a database is at.

    Raises:
        SetupError: it lacks one.
    """
    known = {one.revision for one in script.walk_revisions()}
    strange = sorted(set(standing) - known)
    if strange:
        raise SetupError(
            f"The database is at the migration {' and '.join(strange)}, which isn't in {_folder(script)}: newer code, or that of "
            "another branch, has migrated it. Nothing was done. Run the code that has this migration, or let that code take the "
            "database back first (alembic downgrade)."
        )


def _broken(warned: Iterable[warnings.WarningMessage], error: Exception, folder: str) -> str:
    for found in filter(None, map(REFERENCED.match, map(_text, warned))):
        return (
            f"The migration {found['missing']} is missing from {folder}, and another one follows it: {found['by']}. Nothing was "
            "done. Bring its file back, or correct down_revision in the one that follows it."
        )
    return f"The migrations in {folder} don't make a chain. {error}. Nothing was done. Correct down_revision in one of them."


def _folder(script: ScriptDirectory) -> str:
    return str(Path(script.versions))


def _text(warned: warnings.WarningMessage) -> str:
    return str(warned.message)
