"""The operations that a migration is written in: Alembic's, and those that Shelfmark adds.

A migration says `from service.migrations import op`; what works on `alembic.op` works here.
"""

from collections.abc import Sequence
from typing import Any

import alembic.op
from alembic.op import *  # noqa: F403
from alembic.op import invoke

from service.migrations import refusing
from service.migrations.concurrent import BuildIndex, RemoveIndex, RenameIndex
from service.migrations.definitions import Definition, Standing
from service.migrations.extensions import CreateExtension
from service.migrations.places import Place
from service.migrations.restoring import RestoreIndex
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


def build_index(name: str, table: str, words: str, *, unique: bool = False, schema: str | None = None) -> None:
    """Have a valid index of this definition: build it, replace another of that name, or mend one whose build was broken off.

    Nobody waits: it is built CONCURRENTLY, outside of the revision's transaction, and the one that it replaces serves until then.
    This may be run again at any time.

    Args:
        name: what it is called.
        table: the table's name.
        unique: whether no two rows may be equal in it.
        schema: the table's schema; None: the default one.
        words: the definition, as PostgreSQL writes it after USING: `btree (author_id, published_year DESC NULLS LAST, id)`.

    Raises:
        SetupError: see `building.build`.
    """
    invoke(BuildIndex(Standing(name, Definition(unique, words)), table, schema=schema))


def remove_index(name: str, table: str, *, schema: str | None = None) -> None:
    """Have no index of this name. It is dropped CONCURRENTLY, and no running service uses it any more by then.

    Raises:
        SetupError: see `building.remove`.
    """
    invoke(RemoveIndex(name, table, schema=schema))


def rename_index(
    old: str, new: str, table: str, words: str | None = None, *, unique: bool = False, schema: str | None = None
) -> None:
    """Give an index another name; if there is one of that name already, the two change names.

    Args:
        old: its name so far.
        new: its name from now on.
        table: the table's name.
        words: its definition, as for `build_index`; without it, there must not be an index of the new name.
        unique: belongs to the definition.
        schema: the table's schema; None: the default one.

    Raises:
        SetupError: see `building.rename`.
    """
    definition = None if words is None else Definition(unique, words)
    invoke(RenameIndex(old, new, table, definition=definition, schema=schema))


def restore_index(name: str, table: str, words: str, *, unique: bool = False, schema: str | None = None) -> None:
    """Build an index plainly, inside the transaction: of a table that this revision has made, which nobody uses yet.

    Args:
        name: what it is called.
        table: the table's name.
        words: the definition, as for `build_index`.
        unique: belongs to the definition.
        schema: the table's schema; None: the default one.
    """
    invoke(RestoreIndex(Standing(name, Definition(unique, words)), Place(table, schema)))


def drop_column(  # type: ignore[no-redef]
    table_name: str, column_name: str, *, schema: str | None = None, **options: Any
) -> None:
    """Drop a column that no index needs any more, as Alembic does.

    PostgreSQL would drop its indexes with it, under a lock that holds up every read, and say nothing.

    Raises:
        SetupError: an index still covers the column. Nothing was done.
    """
    refusing.covered(alembic.op.get_context(), Place(table_name, schema), column_name)
    alembic.op.drop_column(table_name, column_name, schema=schema, **options)
