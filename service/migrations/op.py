"""The operations that a migration is written in: Alembic's, and those that Shelfmark adds.

A migration says `from service.migrations import op`; what works on `alembic.op` works here.
"""

from collections.abc import Sequence

from alembic.op import *  # noqa: F403
from alembic.op import invoke

from service.migrations.extensions import CreateExtension
from service.migrations.rowversion import (
    CreateRowVersion,
    CreateRowVersionFunction,
    DropRowVersion,
    DropRowVersionFunction,
)


def create_extension(name: str) -> None:
    """Create an extension unless the database has it. Going back never drops one: others may use it."""
    invoke(CreateExtension(name))


def create_row_version_function() -> None:
    """Create, or put right, the function that the triggers of `create_row_version` call."""
    invoke(CreateRowVersionFunction())


def drop_row_version_function() -> None:
    """Drop that function; the triggers are gone by then."""
    invoke(DropRowVersionFunction())


def create_row_version(table: str, *, schema: str | None = None, generated: Sequence[str] = ()) -> None:
    """Let PostgreSQL keep `version` and `updated_at` of a table: create its trigger, or put it right.

    Args:
        table: the table's name.
        schema: its schema; None: the default one.
        generated: its generated columns, which can't be compared before they are computed.
    """
    invoke(CreateRowVersion(table, schema=schema, generated=generated))


def drop_row_version(table: str, *, schema: str | None = None) -> None:
    """Drop the trigger of `create_row_version`."""
    invoke(DropRowVersion(table, schema=schema))
