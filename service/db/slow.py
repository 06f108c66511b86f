"""Questions that took too long: which path they rode, for how long, and what PostgreSQL plans for them. No value is kept.

Noticing one is a comparison, and noting it an addition in memory. A task in the background has some of them explained (EXPLAIN
without ANALYZE: nothing is run again), each shape of a question once in a while, on a connection that nobody else wants; and adds
what was noted to a table every few seconds: it survives a restart, several processes add up, and `shelfmark slow` shows it. All
of it is bounded: in memory, in the table, and in how often a plan is asked for.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import TYPE_CHECKING

import asyncpg
from sqlalchemy import BigInteger, Column, Connection, DateTime, Double, Table, Text, func, select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

from service.background import flushed
from service.db.lease import Leases
from service.db.model import Model
from service.db.outline import Statement, outlined
from service.telemetry.counting import Family, Told

if TYPE_CHECKING:
    from service.db.session import Database

FLUSH_SECONDS = 5.0
LAST_SECONDS = 2.0
"""How long the end of a process may wait for what it noted last to be written."""
EXPLAIN_SECONDS = 1.0
EXPLAINED_MOST = 5
"""Plans that are asked for between two flushes."""
NOTED_MOST, REMEMBERED_MOST = 200, 1_000
"""Questions that a process notes between two flushes; and those whose plans it remembers to have asked for."""
ROWS_MOST, REMEMBERED_DAYS = 500, 30
"""Questions that the table holds, the slowest of late; and for how long one that isn't slow any more."""
LENGTH_MOST = 500
"""Characters of a question that are kept: the primary key's index takes no more than 2,700 bytes."""
NEVER = float("inf")
SLOW = Family("shelfmark_questions_slow_total", "counter", "Questions that took too long in the database.", ("table", "path"))
FAMILIES = (SLOW,)
QUESTIONS = Table(
    "shelfmark_slow_questions",
    Model.metadata,
    Column("table_name", Text(collation="C"), primary_key=True),
    Column("path", Text(collation="C"), primary_key=True),
    Column("question", Text(collation="C"), primary_key=True),
    Column("times", BigInteger, nullable=False),
    Column("longest_ms", Double, nullable=False),
    Column("total_ms", Double, nullable=False),
    Column("plan", Text(collation="C"), nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
# In the order of the key, so that two processes wait for each other and never in a circle.
ADD = text("""
INSERT INTO shelfmark_slow_questions AS held (table_name, path, question, times, longest_ms, total_ms, plan)
SELECT * FROM unnest(
  CAST(:tables AS text[]), CAST(:paths AS text[]), CAST(:questions AS text[]), CAST(:times AS bigint[]),
  CAST(:longest AS float8[]), CAST(:totals AS float8[]), CAST(:plans AS text[])
) AS g (table_name, path, question, times, longest_ms, total_ms, plan) ORDER BY 1, 2, 3
ON CONFLICT (table_name, path, question) DO UPDATE
SET times = held.times + excluded.times, longest_ms = greatest(held.longest_ms, excluded.longest_ms),
    total_ms = held.total_ms + excluded.total_ms, last_at = greatest(held.last_at, excluded.last_at),
    plan = CASE excluded.plan WHEN '' THEN held.plan ELSE excluded.plan END
""")
# Rows that another process is adding to are left to it.
PRUNE = text("""
DELETE FROM shelfmark_slow_questions WHERE (table_name, path, question) IN (
  SELECT table_name, path, question FROM shelfmark_slow_questions WHERE (table_name, path, question) IN (
    SELECT table_name, path, question FROM (
      SELECT *, row_number() OVER (ORDER BY last_at DESC, longest_ms DESC) AS place FROM shelfmark_slow_questions
    ) AS ranked WHERE place > :most OR last_at < clock_timestamp() - make_interval(days => :days)
  ) FOR UPDATE SKIP LOCKED
)
""")
Key = tuple[str, str, str]


@dataclass(slots=True)
class Noted:
    """What was noted of one shape of a question since the last flush.

    Attributes:
        statement: one of those that were slow, until it is explained.
        plan: the outline of its plan; empty where nobody has asked.
    """

    times: int = 0
    longest: float = 0.0
    total: float = 0.0
    statement: Statement | None = None
    plan: str = ""

    def add(self, other: "Noted") -> None:
        """Add what was noted before."""
        self.times += other.times
        self.longest = max(self.longest, other.longest)
        self.total += other.total
        self.statement = other.statement if self.statement is None else self.statement  # a clause is neither true nor false
        self.plan = self.plan or other.plan


@dataclass(frozen=True, slots=True)
class SlowQuestion:
    """A row of the table: milliseconds, times by the database's clock."""

    table: str
    path: str
    question: str
    times: int
    longest_ms: float
    total_ms: float
    plan: str
    first_at: datetime
    last_at: datetime


class SlowQuestions:
    """What one process notes.

    Args:
        seconds: from which on a question is slow; by default none is.
        again_seconds: after which a question that is slow again is explained again.

    Attributes:
        seconds: the same, for whoever compares.
    """

    def __init__(self, seconds: float = NEVER, again_seconds: float = 60.0) -> None:
        self.seconds = seconds
        self._again = again_seconds
        self._noted: dict[Key, Noted] = {}
        self._times: Counter[tuple[str, str]] = Counter()
        self._explained: OrderedDict[Key, float] = OrderedDict()

    def note(self, table: str, path: str, question: str, seconds: float, statement: Statement) -> None:
        """Note a question that took at least `self.seconds`.

        Args:
            table: what it asked.
            path: the index that it rode.
            question: its shape, without a value.
            seconds: how long it was in the database.
            statement: what was sent; it is forgotten when it has been explained.
        """
        self._times[table, path] += 1
        key = (table, path, question[:LENGTH_MOST])
        noted = self._noted.get(key)
        if noted is None:
            if len(self._noted) >= NOTED_MOST:
                return
            noted = self._noted[key] = Noted()
        noted.add(Noted(1, seconds, seconds))
        if noted.statement is None and not noted.plan and monotonic() - self._explained.get(key, -NEVER) > self._again:
            noted.statement = statement

    def told(self) -> Told:
        """The numbers of `FAMILIES`."""
        for key, times in self._times.items():
            yield SLOW.name, key, [times]

    @asynccontextmanager
    async def kept(self, database: "Database") -> AsyncIterator[None]:
        """Explain and write down every few seconds for as long as the block lasts, and once more when it ends."""
        if self.seconds == NEVER:
            yield
            return

        async def work() -> None:
            await self.explain(database.reads)
            await self.flush(database)

        async with flushed(work, "slow questions", FLUSH_SECONDS, LAST_SECONDS):
            yield

    async def explain(self, leases: Leases) -> None:
        """Have some of the noted questions explained, where a connection is to be had that nobody wants."""
        waiting = [(key, noted) for key, noted in self._noted.items() if noted.statement is not None]
        for key, noted in waiting[:EXPLAINED_MOST]:
            plan = await _explained(leases, noted.statement) if noted.statement is not None else None
            if plan is None:
                return
            noted.plan, noted.statement = plan, None
            self._explained[key] = monotonic()
            self._explained.move_to_end(key)
            if len(self._explained) > REMEMBERED_MOST:
                self._explained.popitem(last=False)

    async def flush(self, database: "Database") -> None:
        """Add what was noted to the table. Where that fails it is kept for the next time.

        Raises:
            Problem: the database is away, busy or slow.
            DBAPIError: it refuses.
        """
        if not self._noted:
            return
        taken, self._noted = self._noted, {}
        try:
            async with database.writing() as unit:
                await unit.session.execute(ADD, _rows(taken))
                await unit.session.execute(PRUNE, {"most": ROWS_MOST, "days": REMEMBERED_DAYS})
        except BaseException:
            for key, noted in taken.items():
                self._noted.setdefault(key, Noted()).add(noted)
            raise
        for key, noted in taken.items():
            if noted.statement is not None and key not in self._noted:
                self._noted[key] = Noted(statement=noted.statement)  # still to be explained


async def _explained(leases: Leases, statement: Statement) -> str | None:
    """The outline of a statement's plan; None where there is no connection that nobody wants. It takes part in no measuring."""
    permit = leases.gate.spare()
    if permit is None:
        return None
    fairy = leases.warm()
    if fairy is None:
        permit.give_back()
        return None
    error: BaseException | None = None
    try:
        async with asyncio.timeout(EXPLAIN_SECONDS):
            connection = AsyncConnection(leases.engine, Connection(leases.engine.sync_engine, connection=fairy))
            return await outlined(connection, statement)
    except (asyncpg.PostgresError, SQLAlchemyError, OSError, TimeoutError) as failed:
        error = failed
        return f"it can't be explained: {type(failed).__name__}"
    except BaseException as failed:
        error = failed
        raise
    finally:
        leases.put_back(permit, fairy, error)


def _rows(noted: dict[Key, Noted]) -> dict[str, object]:
    told = [(key, one) for key, one in noted.items() if one.times or one.plan]
    return {
        "tables": [table for (table, _, _), _ in told],
        "paths": [path for (_, path, _), _ in told],
        "questions": [question for (_, _, question), _ in told],
        "times": [one.times for _, one in told],
        "longest": [one.longest * 1000 for _, one in told],
        "totals": [one.total * 1000 for _, one in told],
        "plans": [one.plan for _, one in told],
    }


async def slow_questions(session: AsyncSession) -> Sequence[SlowQuestion]:
    """The whole table, what took the longest first.

    Raises:
        DBAPIError: there is none, or it may not be read.
    """
    columns = QUESTIONS.c
    rows = await session.execute(select(*columns).order_by(columns.longest_ms.desc(), columns.table_name, columns.question))
    return [SlowQuestion(*row) for row in rows]
