"""F3: PostgreSQL stands still for 10 s. Refusals come in time, the process lives, is told to be unready, and whole soon after."""

import asyncio
from time import monotonic

import pytest
from sqlalchemy import text

from service.db.budget import READS, WRITES
from service.db.engine import ASIDE_CONNECTIONS
from service.settings import Settings
from tests.db.storms import watching
from tests.faults.figures import Figures, fault
from tests.faults.health import Health, asked
from tests.faults.load import load
from tests.faults.machine import TURNS, Machine, watched
from tests.faults.postgres import own_postgres, prepared
from tests.faults.served import served
from tests.waiting import until

WELL_SECONDS = 4.0
FROZEN_SECONDS = 10.0
PAUSE_SECONDS = 0.05
ALL = READS + WRITES + ASIDE_CONNECTIONS
STANDING = text(
    "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'shelfmark'"
    " AND (state = 'idle' OR clock_timestamp() - state_change < interval '1 second')"
)


def longest(found: list[Health], machine: Machine) -> tuple[float, float]:
    """The longest time that an answer took, and the longest without what the machine itself was late in its turns."""
    return max(one.took for one in found), max(one.took - TURNS * machine.stood(one.began, one.ended) for one in found)


@pytest.mark.slow
@fault(
    "F3",
    done="PostgreSQL stands still (SIGSTOP) for 10 s under load",
    holds="refusals within the driver's limit and 1 s more; /livez within 100 ms throughout; /readyz 503 within 3 s; every "
    "connection back, and nothing refused, 2 s after",
)
async def test_postgresql_stands_still_under_load(figures: Figures) -> None:
    limits = Settings(_env_file=None)
    with own_postgres() as postgres, watched() as machine:
        await prepared(postgres)
        with served(postgres.url) as serving, asked(serving.port, "/livez") as lives, asked(serving.port, "/readyz") as ready:
            async with load(serving.base, pause=PAUSE_SECONDS) as told:
                await asyncio.sleep(WELL_SECONDS)
                frozen = monotonic()
                postgres.freeze()
                await asyncio.sleep(FROZEN_SECONDS)
                postgres.thaw()
                thawed = monotonic()
                async with watching(postgres.url) as connection:

                    async def whole() -> bool:
                        return bool(await connection.scalar(STANDING) == ALL)

                    await until(whole)
                    back = monotonic() - thawed
                await asyncio.sleep(3.0)
            liveness, readiness = lives.answers(), ready.answers()
            _, well = longest([one for one in liveness if one.ended <= frozen], machine)
            slowest, above = longest([one for one in liveness if one.ended > frozen], machine)
    unready = min(one.ended for one in readiness if one.status == 503 and one.ended > frozen) - frozen
    again = min(one.ended for one in readiness if one.status == 200 and one.began > thawed) - thawed
    figures.tell(f"longest read {told.longest('read'):.2f} s, write {told.longest('write'):.2f} s")
    figures.tell(
        f"/livez within {slowest * 1000:.0f} ms, {above * 1000:.0f} without the machine's own lateness ({well * 1000:.0f} before)"
    )
    figures.tell(f"/readyz 503 after {unready:.2f} s, 200 again {again:.2f} s after it went on")
    figures.tell(f"all {ALL} connections back after {back:.2f} s, last refusal {told.last_refused(thawed):.2f} s after")
    figures.tell(told.in_words())
    margin = limits.driver_margin_ms / 1000 + 1.0
    assert told.longest("read") <= limits.read_timeout_ms / 1000 + margin
    assert told.longest("write") <= limits.write_timeout_ms / 1000 + margin
    assert {one.status for one in liveness} == {200}
    assert above <= max(0.1, well)
    assert unready <= 3.0
    assert again <= 2.0
    assert back <= 2.0
    assert told.last_refused(thawed) <= 2.0
    assert set(told.statuses("read")) == {200, 503}
    assert set(told.statuses("write")) == {201, 503}
