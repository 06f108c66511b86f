"""F1: PostgreSQL killed for a second under load. Nobody hangs, refusals are 503, and every acknowledged write is there, once."""

import asyncio
from time import monotonic

import pytest

from tests.faults.figures import Figures, fault
from tests.faults.load import load, missing
from tests.faults.postgres import own_postgres, prepared
from tests.faults.served import served

AWAY_SECONDS = 1.0
HANGS_SECONDS = 3.0


@pytest.mark.slow
@fault(
    "F1",
    done="PostgreSQL is killed (kill -9) under load, and started again 1 s later",
    holds="nobody hangs; only 503 with Retry-After; first success within 1 s of it being ready; every acknowledged write is there, "
    "once",
)
async def test_postgresql_is_killed_under_load(figures: Figures) -> None:
    with own_postgres() as postgres:
        await prepared(postgres)
        with served(postgres.url) as serving:
            async with load(serving.base) as told:
                await asyncio.sleep(1.5)
                postgres.kill()
                killed = monotonic()
                await asyncio.sleep(AWAY_SECONDS)
                await asyncio.to_thread(postgres.start)
                ready = monotonic()
                await asyncio.sleep(3.0)
        lost, twice = await missing(postgres.url, told)
    reads, writes = told.statuses("read"), told.statuses("write")
    first = told.first_done(ready)
    figures.tell(
        f"first success {first:.2f} s after it was ready ({ready - killed:.2f} s after the kill), last refusal "
        f"{told.last_refused(ready):.2f} s after"
    )
    figures.tell(f"longest read {told.longest('read'):.2f} s, write {told.longest('write'):.2f} s; {told.in_words()}")
    figures.tell(f"{len(told.written):,} writes acknowledged, {lost} lost, {twice} there twice")
    assert set(reads) == {200, 503}
    assert set(writes) == {201, 503}
    assert all(one.may_return for one in told.answers if one.status == 503)
    assert max(told.longest("read"), told.longest("write")) < HANGS_SECONDS
    assert first <= 1.0
    assert (lost, twice) == (0, 0)
