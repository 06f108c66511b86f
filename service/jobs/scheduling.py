"""Schedules: jobs that are asked for again and again, as rows that the relay fires, by the database's clock.

What was due while nobody fired it is caught up with once, not as often as it was missed: the next time is the next one that lies
ahead. A job that is still open when its time comes again isn't added a second time.
"""

import datetime
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from sqlalchemy import BigInteger, Column, DateTime, Interval, Table, Text, bindparam, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from service.db import Model
from service.errors import SetupError
from service.jobs import transitions
from service.jobs.job import Job

LOOK_SECONDS = 1.0
PRUNE_SECONDS = 600.0
FORGOTTEN_DAYS = 7
"""After which a schedule that no relay knows any more is deleted."""

schedules = Table(
    "shelfmark_schedules",
    Model.metadata,
    Column("name", Text(collation="C"), primary_key=True),
    Column("every", Interval, nullable=False),
    Column("due_at", DateTime(timezone=True), nullable=False),
    Column("fired_at", DateTime(timezone=True)),
    Column("job_id", BigInteger, comment="the last job that it asked for"),
    Column("seen_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
# Times are counted from a Monday, midnight UTC: a schedule of a week comes on Mondays, one of a day at `at`, one of an hour at its
# minutes, whenever it was declared. What is due already stays so; another time than was declared before holds from the next one on.
MONDAY = "timestamptz '2001-01-01 00:00:00+00'"
DECLARE = text(f"""
WITH anew AS (
  SELECT CAST(:name AS text) AS name, CAST(:every AS interval) AS every,
    {MONDAY} + CAST(:at AS interval) AS first
)
INSERT INTO shelfmark_schedules AS known (name, every, due_at)
SELECT name, every, first + every * ceil(extract(epoch FROM clock_timestamp() - first) / extract(epoch FROM every))
FROM anew
ON CONFLICT (name) DO UPDATE SET
  due_at = CASE
    WHEN known.due_at <= clock_timestamp() OR (
      known.every = excluded.every
      AND mod(extract(epoch FROM excluded.due_at - known.due_at), extract(epoch FROM excluded.every)) = 0
    ) THEN known.due_at
    ELSE excluded.due_at END,
  every = excluded.every, seen_at = clock_timestamp()
""").bindparams(bindparam("every", type_=Interval), bindparam("at", type_=Interval))
DUE = text("SELECT name FROM shelfmark_schedules WHERE due_at <= clock_timestamp()")
FIRE = text(f"""
WITH due AS (
  SELECT name, CAST(:every AS interval) AS every, {MONDAY} + CAST(:at AS interval) AS first FROM shelfmark_schedules
  WHERE name = :name AND due_at <= clock_timestamp() FOR UPDATE SKIP LOCKED
), job AS (
  INSERT INTO shelfmark_jobs (name, args, key, attempts, lease)
  SELECT :job, :args, 'schedule:' || due.name, :attempts, :lease FROM due
  ON CONFLICT (key) WHERE key IS NOT NULL AND state IN ('queued', 'running') DO NOTHING
  RETURNING id
)
UPDATE shelfmark_schedules AS known SET
  due_at = due.first + due.every * (1 + floor(extract(epoch FROM clock_timestamp() - due.first) / extract(epoch FROM due.every))),
  fired_at = clock_timestamp(), job_id = coalesce((SELECT id FROM job), known.job_id)
FROM due WHERE known.name = due.name
RETURNING known.name
""").bindparams(bindparam("args", type_=JSONB), bindparam("every", type_=Interval), bindparam("at", type_=Interval))
FORGET = text("DELETE FROM shelfmark_schedules WHERE seen_at < clock_timestamp() - make_interval(days => :days)")
SEEN = text("UPDATE shelfmark_schedules SET seen_at = clock_timestamp() WHERE name = ANY (CAST(:names AS text[]))")


@dataclass(frozen=True)
class Schedule:
    """A job that is asked for again and again.

    Attributes:
        job: what is to be done.
        every: how often.
        at: how long after midnight UTC; for what comes several times a day, when it comes first; for what comes less often than
            that, how long after the midnight before a Monday.
        args: what its function is called with.
        name: by which its row is known; by default the job's.
    """

    job: Job[Any]
    every: datetime.timedelta
    at: datetime.timedelta = datetime.timedelta(0)
    args: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Refuse what can't be fired."""
        if self.every < datetime.timedelta(seconds=1):
            raise SetupError(f"The schedule of {self.job.name} is to come every {self.every}. Once a second is the most.")
        self.job.written(self.args)
        object.__setattr__(self, "name", self.name or self.job.name)


class Schedules:
    """A chore of the relay: fires what is due, and deletes jobs that ended long ago.

    Args:
        declared: the schedules of this version of the service.
        keep_days: for how long jobs are kept that have ended.
    """

    def __init__(self, declared: Sequence[Schedule], keep_days: int) -> None:
        self._declared, self._keep_days = declared, keep_days
        self._looked = self._pruned = 0.0
        self._declared_there = False

    async def step(self, connection: AsyncConnection) -> bool:
        """Fire what is due; never more to do at once."""
        if monotonic() - self._looked < LOOK_SECONDS:
            return False
        self._looked = monotonic()
        if not self._declared_there:
            await self.declare(connection)
        async with connection.begin():
            due = set(await connection.scalars(DUE))
        for schedule in self._declared:
            if schedule.name in due:
                await self.fire(connection, schedule)
        if monotonic() - self._pruned > PRUNE_SECONDS:
            self._pruned = monotonic()
            await self._prune(connection)
        return False

    async def declare(self, connection: AsyncConnection) -> None:
        """Make sure that each schedule has its row, with the times that this version of the service has declared."""
        for schedule in sorted(self._declared, key=lambda schedule: schedule.name):
            async with connection.begin():
                await connection.execute(DECLARE, {"name": schedule.name, "every": schedule.every, "at": schedule.at})
        self._declared_there = True

    async def fire(self, connection: AsyncConnection, schedule: Schedule) -> bool:
        """Ask for a schedule's job, if it is due; whether it was."""
        job = schedule.job
        values = {"job": job.name, "args": job.written(schedule.args), "attempts": job.attempts, "lease": job.lease}
        async with connection.begin():
            values |= {"name": schedule.name, "every": schedule.every, "at": schedule.at}
            return await connection.scalar(FIRE, values) is not None

    async def _prune(self, connection: AsyncConnection) -> None:
        async with connection.begin():
            await connection.execute(SEEN, {"names": [schedule.name for schedule in self._declared]})
            await connection.execute(FORGET, {"days": FORGOTTEN_DAYS})
        more = transitions.PRUNED_AT_ONCE
        while more == transitions.PRUNED_AT_ONCE:
            async with connection.begin():
                more = await transitions.prune(connection, self._keep_days)
