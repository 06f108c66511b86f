"""A unit of work: one transaction, and what belongs to it. `Database.writing()` opens it."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar

import structlog
from sqlalchemy import inspect
from sqlalchemy.ext.asyncio import AsyncSession

from service.db.deadline import stand_firm
from service.db.faults import UNKNOWN, is_told
from service.db.model import Model
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
    """

    def __init__(self, session: AsyncSession, outbox: Outbox) -> None:
        self.session, self._outbox = session, outbox
        self.notes: list[Note] = []
        self.task = asyncio.current_task()
        self.open, self.told = True, False
        self._before: list[Hook] = []
        self._after: list[Hook] = []

    def note(self, what: What, rows: Sequence[Model]) -> None:
        """Have the outbox tell of rows."""
        self.notes += [Note(row.__tablename__, inspect(row).mapper.primary_key_from_instance(row)[0], what) for row in rows]

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

    async def tell(self, hooks: list[Hook]) -> None:
        """Run this unit's hooks, and those given, once it stands."""
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
