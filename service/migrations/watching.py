"""The migrator, seen from a connection beside it: what it builds, and whom it waits for.

The connection of a migration is busy with one statement at a time. Another one looks at it, twice a second, and must never be the
reason for which a migration fails: whatever goes wrong here ends the watching, and nothing else.
"""

import asyncio
import logging
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.migrations.progress import Build, Shown, shown
from service.migrations.sessions import COLUMNS, Session

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
BUILDING = text("""
SELECT t.relname, x.relname, p.phase, p.blocks_done, p.blocks_total, p.tuples_done, p.tuples_total,
       p.lockers_done, p.lockers_total, p.current_locker_pid
FROM pg_stat_progress_create_index p
JOIN pg_class t ON t.oid = p.relid  -- a table that isn't committed yet isn't seen, and nobody waits for it
LEFT JOIN pg_class x ON x.oid = p.index_relid
WHERE p.pid = :process AND t.relpersistence <> 't'  -- nor are the copies on which definitions are tried
""")
# Behind whom it queues for a lock, and for which. Of a transaction's own lock the table isn't known.
BLOCKED = text(f"""
SELECT coalesce(CAST(l.relation AS regclass)::text, l.locktype), l.mode, {COLUMNS}
FROM pg_locks l
LEFT JOIN pg_stat_activity a ON a.pid = (pg_blocking_pids(l.pid))[1]
WHERE l.pid = :process AND NOT l.granted
LIMIT 1
""")


class Watch:
    """Looks at a migration while it runs.

    Attributes:
        blocked: what it waits for and who has it, as last seen; empty if it wasn't seen waiting.
    """

    def __init__(self, engine: AsyncEngine | None = None) -> None:
        self.blocked = ""
        self._engine = engine
        self._task: asyncio.Task[None] | None = None

    def begin(self, process: int) -> None:
        """Look at a process of PostgreSQL from now on; only where an event loop runs that can."""
        if self._engine is not None:
            self._task = asyncio.get_running_loop().create_task(self._look(self._engine, process))

    def forget(self) -> None:
        """What was seen so far is over."""
        self.blocked = ""

    async def end(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _look(self, engine: AsyncEngine, process: int) -> None:
        try:
            async with engine.connect() as connection:
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                with shown() as tell:
                    while True:
                        await self._once(connection, process, tell)
                        await asyncio.sleep(POLL_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever it is, the migration goes on without being watched
            log.debug("the migration isn't watched any more: %s", error)

    async def _once(self, connection: AsyncConnection, process: int, tell: Shown) -> None:
        building = (await connection.execute(BUILDING, {"process": process})).first()
        tell(None if building is None else Build(*building))
        waiting = (await connection.execute(BLOCKED, {"process": process})).first()
        if waiting is not None:
            self.blocked = _told(*waiting)


def _told(which: str, mode: str, *who: Any) -> str:
    told = f"{mode} on {which}"
    return f"{told}, held by {Session(*who)}" if who[0] else told
