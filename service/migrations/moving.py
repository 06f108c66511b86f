"""A move to another revision: looked at, shown, done by one migrator at a time, and recorded."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from alembic.runtime.migration import MigrationContext, RevisionStep
from sqlalchemy import Connection, MetaData

from service.migrations import recording
from service.migrations.planning import Planned, planned, title
from service.migrations.safety import alone, limited
from service.migrations.sessions import process
from service.migrations.trying import until_done
from service.migrations.watching import Watch
from service.settings import Settings

Told = Callable[[Sequence[Planned]], None]


@dataclass(frozen=True)
class Move:
    """How to move.

    Attributes:
        told: is told what will be done, before it is.
        dry: whether that is all.
        watch: looks at the migration while it runs.
    """

    settings: Settings
    told: Told | None = None
    dry: bool = False
    watch: Watch = field(default_factory=Watch)


class Todo:
    """Alembic's steps, each gone through once, however often it begins: those that are committed are behind it.

    It can't be asked twice: two steps further would lead two steps further each time.
    """

    def __init__(self, migration: MigrationContext, standing: tuple[str, ...]) -> None:
        asked = migration.opts["fn"]
        self.left: list[RevisionStep] = list(asked(standing, migration))
        migration._migrations_fn = self._steps  # noqa: SLF001 - Alembic takes it from its command and offers no other way

    def __str__(self) -> str:
        doing = self.left[0] if self.left else None
        if not isinstance(doing, RevisionStep):
            return "The migration"
        told = title(doing.revision)
        return f"The migration {doing.revision.revision}{f' ({told})' if told else ''}"

    def _steps(self, *_: Any) -> Iterator[RevisionStep]:
        while self.left:
            yield self.left[0]
            del self.left[0]  # Alembic asks for the next one when it has committed this one


def move(context: ModuleType, connection: Connection, metadata: MetaData, how: Move) -> None:
    """Go to the revision that Alembic was asked for. In a transaction of the caller's, nothing is tried twice.

    Raises:
        SetupError: another migrator doesn't end, or a lock can't be had.
        CommandError: there is no such revision, or no way to it.
    """
    if how.dry:
        _look(context, connection, how)
        return
    riding = connection.in_transaction()
    with alone(connection, how.settings), limited(connection, how.settings):
        todo = _look(context, connection, how)
        if riding:
            context.run_migrations()
            recording.record(connection, metadata)
            return
        how.watch.begin(process(connection))
        until_done(connection, how, lambda: _run(context, connection), todo)
        until_done(connection, how, lambda: recording.record(connection, metadata), "The record of the indexes")


def _run(context: ModuleType, connection: Connection) -> None:
    """Each migration in a transaction of its own; what is open afterwards has only looked."""
    try:
        context.run_migrations()
    finally:
        connection.rollback()


def _look(context: ModuleType, connection: Connection, how: Move) -> Todo:
    """What is to be done: all that Alembic could refuse it refuses here, when nothing has been touched."""
    migration: MigrationContext = context.get_context()
    todo = Todo(migration, standing(migration, connection))
    if how.told is not None:
        how.told(planned(connection, todo.left))
    return todo


def standing(migration: MigrationContext, connection: Connection) -> tuple[str, ...]:
    """The revisions that a database is at, as it stands; those of a version table that is about to be emptied don't count."""
    if migration.purge:
        return ()
    was_open = connection.in_transaction()
    heads = migration.get_current_heads()
    if not was_open:
        connection.rollback()
    return heads
