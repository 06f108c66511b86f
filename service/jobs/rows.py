"""The table of jobs: PostgreSQL owns each of them, Redis only wakes who works.

`due_at` says from when on a job may be handed out, whatever it waits for: its time, another try, the end of a lease. `claim` grows
at each hand-out, and whoever writes for a job names the claim: what an older claim writes is refused. `failures` counts runs that
began and ended without any progress that was kept. The rest is for people.
"""

import datetime
from typing import Any

from sqlalchemy import CheckConstraint, Double, Identity, Index, Integer, func
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository

STATES = ("queued", "running", "done", "failed", "cancelled")
OPEN = "state IN ('queued', 'running')"
"""The condition of jobs that haven't ended, spelled so that partial indexes serve it."""


class JobRow(Model):
    """A job, and how far it is."""

    __tablename__ = "shelfmark_jobs"
    __table_args__ = (CheckConstraint(f"state IN {STATES}", name="state"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column()
    args: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    key: Mapped[str | None] = mapped_column(comment="no two open jobs have the same")
    asked_by: Mapped[str] = mapped_column(server_default="", comment="the API key's prefix; empty: the service itself")
    state: Mapped[str] = mapped_column(server_default="queued")
    due_at: Mapped[datetime.datetime] = mapped_column(server_default=func.clock_timestamp())
    attempts: Mapped[int] = mapped_column(Integer, comment="failures after which it is given up")
    lease: Mapped[float] = mapped_column(Double, comment="seconds after which a run that says nothing is taken for dead")
    claim: Mapped[int] = mapped_column(server_default="0")
    handed: Mapped[bool] = mapped_column(server_default="false", comment="it was handed out, and no run has begun")
    advanced: Mapped[bool] = mapped_column(server_default="false", comment="the present run has kept some progress")
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    checkpoint: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    done: Mapped[int | None] = mapped_column()
    total: Mapped[int | None] = mapped_column()
    message: Mapped[str | None] = mapped_column()
    result: Mapped[Any | None] = mapped_column(JSONB(none_as_null=True))
    error: Mapped[str | None] = mapped_column()
    cancel_at: Mapped[datetime.datetime | None] = mapped_column(comment="when somebody asked for its end")
    started_at: Mapped[datetime.datetime | None] = mapped_column()
    finished_at: Mapped[datetime.datetime | None] = mapped_column()

    unique_key = Index(
        "uq_shelfmark_jobs_key", key, unique=True, postgresql_where=key.is_not(None) & state.in_(("queued", "running"))
    )
    due = Index("ix_shelfmark_jobs_due", due_at, id, postgresql_where=state.in_(("queued", "running")))
    unstarted = Index("ix_shelfmark_jobs_unstarted", due_at, postgresql_where=handed.is_(True))
    finished = Index("ix_shelfmark_jobs_finished", finished_at, postgresql_where=finished_at.is_not(None))
    by_state = Index("ix_shelfmark_jobs_by_state", state, id.desc())
    by_name = Index("ix_shelfmark_jobs_by_name", name, id.desc())
    of_key = Index("ix_shelfmark_jobs_of_key", asked_by, id.desc())
    of_key_by_state = Index("ix_shelfmark_jobs_of_key_by_state", asked_by, state, id.desc())
    default_order = (id.desc(),)
    called = "jobs"


class JobRows(Repository[JobRow]):
    """Queries of jobs. They change by `transitions.py` alone."""
