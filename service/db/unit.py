"""A unit of work: one transaction, and what belongs to it. `Database.writing()` opens it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from typing import Any

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from service.db.deadline import stand_firm
from service.db.drops import Caches
from service.db.faults import UNKNOWN, is_told
from service.db.model import Model
from service.db.noticing import Noticed, key_of
from service.db.outbox import Note, Outbox, What
from service.errors import Unavailable

Hook = Callable[["Unit"], Awaitable[None]]
log = structlog.get_logger(__name__)


CURRENT: ContextVar["Unit | None"] = ContextVar("current unit", default=None)


class Attempt:
    """One run of what may be run again.

    Attributes:
        committing: whether something may have been committed, so that it may not.
    """

    committing = False


class Unit:
    """A unit of work: one transaction, and what belongs to it.

    Attributes:
        session: SQLAlchemy's session, for what repositories don't offer.
        notes: what the outbox will say of it: one statement at its end, if anybody wants to know.
        told: whether the outbox says anything of it, so that whoever hands that on is to be woken.
        noticed: what caches must forget once it stands.
    """

    def __init__(self, session: AsyncSession, outbox: Outbox, caches: Caches | None = None) -> None:
        self.session, self._outbox = session, outbox
        self.notes: list[Note] = []
        self.noticed = Noticed(session, caches)
        self.task = asyncio.current_task()
        self.open, self.told = True, False
        self._before: list[Hook] = []
        self._after: list[Hook] = []

    def note(self, what: What, rows: Sequence[Model], old: Sequence[Any] | None = None) -> None:
        """Have the outbox tell of rows, and caches forget them.

        Args:
            what: happened to them.
            rows: as they are now.
            old: of one row that was changed: what `noticed.before` gave.
        """
        self.notes += [Note(row.__tablename__, key_of(row), what) for row in rows]
        if what == "created":
            self.noticed.created(rows)
        elif old is not None:
            self.noticed.changed(rows[0].__tablename__, key_of(rows[0]), old, rows[0])

    def note_gone(self, table: str, key: Any, old: Sequence[Any]) -> None:
        """Have the outbox tell of a row that was deleted, and caches forget it: `old` is what `noticed.gone` gave."""
        self.notes.append(Note(table, key, "deleted"))
        self.noticed.changed(table, key, old, None)

    def before_commit(self, hook: Hook) -> None:
        """Run something as the last part of the transaction; what it raises rolls everything back."""
        self._before.append(hook)

    def after_commit(self, hook: Hook) -> None:
        """Run something once the transaction stands. What it raises is logged: the write can't be taken back."""
        self._after.append(hook)

    async def commit(self, hooks: list[Hook], attempt: Attempt | None) -> None:
        """Commit, with this unit's hooks and those given as the last part of the transaction.

        Raises:
            Unavailable: the connection was lost meanwhile, and nobody knows whether it stands.
        """
        for hook in (*self._before, *hooks):
            await hook(self)
        await self.session.flush()
        if await self._outbox.write(self.session, self.notes):
            self.told = True
        await self.noticed.note()
        stand_firm()
        if attempt:
            attempt.committing = True
        try:
            await self.session.commit()
        except Exception as error:
            if not is_told(error):
                raise Unavailable(UNKNOWN, outcome="unknown") from error
            if attempt:
                attempt.committing = False
            raise

    def end(self) -> None:
        """Take nothing more: it stands, or was rolled back."""
        self.open = False
        self.noticed.end()

    async def tell(self, hooks: list[Hook]) -> None:
        """Have caches forget what it changed, and run this unit's hooks, and those given, once it stands."""
        await self.noticed.forget()
        if self.told:
            self._outbox.nudge()
        for hook in (*self._after, *hooks):
            try:
                await hook(self)
            except Exception:
                log.exception("a hook after commit failed", hook=getattr(hook, "__qualname__", str(hook)))


def current() -> Unit:
    """The unit of work that this is called in.

    Raises:
        RuntimeError: there is none.
    """
    unit = CURRENT.get()
    if unit is None or not unit.open:
        raise RuntimeError("This belongs into a unit of work: call it inside `async with database.writing():`.")
    return unit
