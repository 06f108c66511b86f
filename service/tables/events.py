"""Events: what happened, one row for each act, written in the transaction of the act itself. Only ever appended to."""

import datetime
from typing import Any

from sqlalchemy import Identity, Index, func, literal_column
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Page, Repository, Unit
from service.http import Schema, serve


class Event(Model):
    """The table, and the questions it answers."""

    __tablename__ = "events"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    occurred_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str] = mapped_column()
    subject: Mapped[str] = mapped_column()
    payload: Mapped[dict[str, Any]] = mapped_column(server_default="{}")

    in_time = Index("ix_events_in_time", occurred_at, id)
    of_subject = Index("ix_events_of_subject", subject, id.desc())
    # What stops a loan from being told of twice on a day is this index, not a check in Python.
    unique_overdue = Index(
        "uq_events_overdue",
        subject,
        func.jsonb_extract_path_text(payload, literal_column("'day'")),
        unique=True,
        postgresql_where=kind == "loan.overdue",
    )


class EventRead(Schema):
    """What a client gets back."""

    id: int
    occurred_at: datetime.datetime
    kind: str
    subject: str
    payload: dict[str, Any]


class Events(Repository[Event]):
    """Appends what happened. `subject` is the path of what it happened to: `loans/7`."""

    async def record(self, kind: str, subject: str, **payload: Any) -> None:
        """Append an event to the unit of work that this is called in, at its end: all of its events go as one statement."""

        async def append(unit: Unit) -> None:
            unit.session.add(Event(kind=kind, subject=subject, payload=payload))

        async with self.database.writing() as unit:
            unit.before_commit(append)

    async def about(self, subject: str, limit: int = 50) -> Page[Event]:
        """What happened to something, the latest first."""
        return await self.page(Event.of_subject, subject=subject, limit=limit)


router = serve(Events, at="/events", read=EventRead)
