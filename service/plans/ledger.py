"""The ledger: how often which questions were refused, by shape; never a value that a client wrote.

Counting is an addition in memory, so that a refusal stays as cheap as it is and sends no statement. A task in the background adds
the counts to a table every few seconds and once more at the end: they survive a restart, and several processes add up. All of it is
bounded, whoever asks: in memory, in the table, and in the length of a shape; what finds no room is counted as just that.
"""

import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, DateTime, Table, Text, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from service.background import flushed
from service.contract.path import Contract
from service.contract.question import Question
from service.contract.shape import Shape, shape_of
from service.db import Database, Model

FLUSH_SECONDS = 5.0
LAST_SECONDS = 3.0
"""How long the end of a process may wait for the counts of its last seconds to be written."""
SHAPES_MOST = 500
"""Shapes that a process counts between two flushes."""
ROWS_MOST, ROWS_KEPT = 2_000, 1_500
"""Shapes that the table holds; and those that stay when it is full: the most refused."""
LENGTH_MOST = 1_000
"""Characters that a shape may have, written: the primary key's index takes no more than 2,700 bytes."""
REMEMBERED_DAYS = 90
PRUNE_SECONDS = 3_600.0
OTHERS = ""
"""The shape under which a table's questions are counted that found no room."""
OTHERS_SHOWN = "(questions that found no room)"

REFUSALS = Table(
    "shelfmark_refusals",
    Model.metadata,
    Column("table_name", Text(collation="C"), primary_key=True),
    Column("shape", Text(collation="C"), primary_key=True),
    Column("question", Text(collation="C"), nullable=False),
    Column("times", BigInteger, nullable=False),
    Column("first_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
    Column("last_at", DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()),
)
# Rows are added to in the order of the key, so that two processes wait for each other and never in a circle.
ADD = text("""
WITH given AS (
  SELECT g.*, g.shape = :others OR EXISTS (
    SELECT FROM shelfmark_refusals r WHERE r.table_name = g.table_name AND r.shape = g.shape
  ) AS known
  FROM unnest(CAST(:tables AS text[]), CAST(:shapes AS text[]), CAST(:questions AS text[]), CAST(:times AS bigint[]))
    AS g(table_name, shape, question, times)
), placed AS (
  SELECT *, known OR row_number() OVER (PARTITION BY known ORDER BY times DESC, table_name, shape)
    <= :most - (SELECT count(*) FROM shelfmark_refusals WHERE shape <> :others) AS kept
  FROM given
)
INSERT INTO shelfmark_refusals AS held (table_name, shape, question, times)
SELECT table_name, CASE WHEN kept THEN shape ELSE :others END, CASE WHEN kept THEN question ELSE :others_shown END,
  CAST(sum(times) AS bigint)
FROM placed GROUP BY 1, 2, 3 ORDER BY 1, 2
ON CONFLICT (table_name, shape) DO UPDATE
SET times = held.times + excluded.times, question = excluded.question, last_at = greatest(held.last_at, excluded.last_at)
""")
PRUNE = text("""
DELETE FROM shelfmark_refusals WHERE last_at < clock_timestamp() - make_interval(days => :days) OR (table_name, shape) IN (
  SELECT table_name, shape FROM shelfmark_refusals WHERE shape <> :others ORDER BY times DESC, last_at DESC
  OFFSET CASE WHEN (SELECT count(*) FROM shelfmark_refusals WHERE shape <> :others) < :most THEN :most ELSE :kept END
)
""")


@dataclass(frozen=True, slots=True)
class Refused:
    """A row of the ledger.

    Attributes:
        shape: as JSON; empty for all questions of the table that found no room.
        question: the shape as people read it.
        times: how often it was refused.
        first_at: when it was refused first, by the database's clock.
        last_at: when it was refused last, to some seconds.
    """

    table: str
    shape: str
    question: str
    times: int
    first_at: datetime
    last_at: datetime


Counts = dict[tuple[str, Shape | None], int]
"""How often, for a table and a shape; None for those that found no room."""


class Ledger:
    """What one process counts, until it is written down.

    Attributes:
        refused: how many questions of each table were refused since the process began.
    """

    def __init__(self) -> None:
        self.refused: Counter[str] = Counter()
        self._counts: Counts = {}
        self._pruned_at = -PRUNE_SECONDS

    def count(self, contract: Contract, question: Question) -> None:
        """Count a refusal."""
        self.refused[contract.table] += 1
        self._add(contract.table, shape_of(contract, question), 1)

    def _add(self, table: str, shape: Shape | None, times: int) -> None:
        if (table, shape) not in self._counts and len(self._counts) >= SHAPES_MOST:
            shape = None
        self._counts[table, shape] = self._counts.get((table, shape), 0) + times

    def kept(self, database: Database) -> AbstractAsyncContextManager[None]:
        """Write the counts down every few seconds for as long as the block lasts, and once more when it ends."""
        return flushed(lambda: self.flush(database), "refused questions", FLUSH_SECONDS, LAST_SECONDS)

    async def flush(self, database: Database) -> None:
        """Add the counts to the table. Where that fails they are kept for the next time.

        Raises:
            Problem: the database is away, busy or slow.
            DBAPIError: it refuses.
        """
        if not self._counts:
            return
        taken, self._counts = self._counts, {}
        try:
            async with database.writing() as unit:
                await unit.session.execute(ADD, _rows(taken))
        except BaseException:
            for (table, shape), times in taken.items():
                self._add(table, shape, times)
            raise
        await self._prune(database)

    async def _prune(self, database: Database) -> None:
        """Forget what nobody has asked for a long time; and in a full table what was asked least."""
        if time.monotonic() - self._pruned_at < PRUNE_SECONDS:
            return
        self._pruned_at = time.monotonic()
        async with database.writing() as unit:
            limits = {"days": REMEMBERED_DAYS, "others": OTHERS, "most": ROWS_MOST, "kept": ROWS_KEPT}
            await unit.session.execute(PRUNE, limits)


def _rows(counts: Counts) -> dict[str, object]:
    written = [(table, shape.written() if shape else OTHERS, str(shape or OTHERS_SHOWN)) for table, shape in counts]
    kept = [row if len(row[1]) <= LENGTH_MOST else (row[0], OTHERS, OTHERS_SHOWN) for row in written]
    return {
        "tables": [table for table, _, _ in kept],
        "shapes": [shape for _, shape, _ in kept],
        "questions": [question for _, _, question in kept],
        "times": list(counts.values()),
        "others": OTHERS,
        "others_shown": OTHERS_SHOWN,
        "most": ROWS_MOST,
    }


async def refused(session: AsyncSession) -> Sequence[Refused]:
    """The whole ledger, what was refused most first.

    Raises:
        DBAPIError: there is none, or it may not be read.
    """
    columns = REFUSALS.c
    rows = await session.execute(select(*columns).order_by(columns.times.desc(), columns.table_name, columns.shape))
    return [Refused(*row) for row in rows]
