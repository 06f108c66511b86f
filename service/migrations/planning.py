"""What a move to another revision will do, before it is done: each migration on the way, and the steps it consists of."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import Script
from sqlalchemy import Connection, text

from service.migrations.effects import Step
from service.migrations.sessions import asked
from service.migrations.steps import steps

TABLES = text("""
SELECT json_object_agg(x.relname, t.relname)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE n.nspname NOT LIKE 'pg\\_%'
""")


@dataclass(frozen=True, slots=True)
class Planned:
    """A migration that will run.

    Attributes:
        back: whether it is taken back.
        steps: what it does; None where that can't be known before, as it asks the database on its way.
    """

    revision: str
    title: str
    back: bool
    steps: Sequence[Step] | None


def planned(connection: Connection, todo: Sequence[RevisionStep]) -> list[Planned]:
    """What Alembic's steps will do, in order. Nothing is done."""
    row = asked(connection, TABLES)
    tables = dict((row[0] if row else None) or {})
    return [_planned(one, tables) for one in todo if isinstance(one, RevisionStep)]


def _planned(one: RevisionStep, tables: Mapping[str, str]) -> Planned:
    sql = written(one.migration_fn)
    shown = None if sql is None else steps(sql, tables)
    return Planned(one.revision.revision, title(one.revision), not one.is_upgrade, shown)


def written(function: Callable[[], None]) -> str | None:
    """The SQL of a migration's `upgrade` or `downgrade`, as for a file; None if it can't be written without a database."""
    buffer = io.StringIO()
    offline = MigrationContext.configure(
        dialect_name="postgresql",
        dialect_opts={"paramstyle": "named"},
        opts={"as_sql": True, "literal_binds": True, "output_buffer": buffer, "transaction_per_migration": True},
    )
    try:
        with Operations.context(offline):
            function()
    except Exception:  # noqa: BLE001 - a migration is anybody's code, and one that reads rows finds no database here
        return None
    return buffer.getvalue()


def title(script: Script) -> str:
    """What a migration says of itself."""
    return (script.doc or "").strip().rstrip(".")
