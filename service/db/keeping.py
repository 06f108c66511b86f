"""What is done about the pools in the background: connections made before traffic comes, made anew when they died, and with age.

A request never waits for that: only permits are used that nobody else wants, and one connection is exchanged at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from time import monotonic
from typing import Any

import structlog
from sqlalchemy import PoolProxiedConnection, event
from sqlalchemy.pool import ConnectionPoolEntry

from service.background import beside
from service.db.gate import Permit
from service.db.lease import Leases
from service.errors import Problem, SetupError

Check = Callable[[], Awaitable[None]]
COLD = "connections to the database are still being made"
EVERY_SECONDS = 1.0
CLOSE_SECONDS = 1.0
MADE = "shelfmark_made"
log = structlog.get_logger(__name__)


class Keeper:
    """Looks after pools.

    Args:
        pools: the connections that are made.
        oldest_seconds: when one is made anew.
        check: is asked before that, by a connection that is there already, and raises `SetupError` where they would be too many.

    Attributes:
        cold: why not every connection has been made yet; None once they all were.
    """

    def __init__(self, pools: Sequence[Leases], oldest_seconds: float, check: Check) -> None:
        self.cold: str | None = COLD
        self._pools, self._oldest, self._check = pools, oldest_seconds, check
        for leases in pools:
            event.listen(leases.engine.sync_engine, "connect", _dated)

    def running(self) -> AbstractAsyncContextManager[None]:
        """Look after them for as long as the block lasts."""
        return beside(self._keep(), "connections")

    async def _keep(self) -> None:
        told = None
        while True:
            try:
                if self.cold:
                    await self._check()
                for leases in self._pools:
                    await self.look_after(leases)
                self.cold = told = None
            except (Problem, SetupError) as error:
                self.cold = self.cold and (str(error) if isinstance(error, SetupError) else COLD)
                if str(error) != told:
                    log.warning("connections can't be made", detail=str(error), cause=repr(error.__cause__))
                told = str(error)
            await asyncio.sleep(EVERY_SECONDS)

    async def look_after(self, leases: Leases) -> None:
        """Make the connections that a pool lacks, and one of the too old ones anew.

        Raises:
            Problem: the database is away.
        """
        taken: list[tuple[Permit, PoolProxiedConnection]] = []
        old = None
        try:
            while permit := leases.gate.spare():
                taken.append((permit, leases.warm() or await leases.made(permit)))
            old = next((one for one in taken if monotonic() - one[1].info.get(MADE, monotonic()) > self._oldest), None)
        finally:
            for permit, fairy in reversed(taken):  # what was on top comes on top again
                if old is None or permit is not old[0]:
                    fairy.close()
                    permit.give_back()
        if old:
            await _exchange(leases, *old)


async def _exchange(leases: Leases, permit: Permit, fairy: PoolProxiedConnection) -> None:
    try:
        try:
            driver: Any = fairy.driver_connection
            await driver.close(timeout=CLOSE_SECONDS)
        finally:
            fairy.invalidate()
        (await leases.made(permit)).close()
    finally:
        permit.give_back()


def _dated(_connection: object, record: ConnectionPoolEntry) -> None:
    record.info[MADE] = monotonic()
