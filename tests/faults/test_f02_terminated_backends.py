"""F2: one backend ended, or all of them. Readers see nothing of it; of writes no more are refused than there are connections."""

import asyncio
from time import monotonic

import pytest
from sqlalchemy import text

from service.db.budget import WRITES
from tests.db.storms import KILL, watching
from tests.faults.figures import Figures, fault
from tests.faults.load import load, missing
from tests.faults.postgres import own_postgres, prepared
from tests.faults.served import served

ROUNDS = 5
CALM_SECONDS = 0.5


@pytest.mark.slow
@fault(
    "F2",
    done="the server ends one of the service's connections, or all of them, five times under load",
    holds="reads: none is refused; writes: at most as many 503 as there are connections that write; over within 0.5 s",
)
@pytest.mark.parametrize("some", [pytest.param(1, id="one"), pytest.param(1000, id="all")])
async def test_backends_are_terminated_under_load(some: int, figures: Figures) -> None:
    trouble: list[float] = []
    refusals: list[int] = []
    killed = 0
    with own_postgres() as postgres:
        await prepared(postgres)
        with served(postgres.url) as serving:
            async with load(serving.base) as told, watching(postgres.url) as connection:
                await asyncio.sleep(1.0)
                for _ in range(ROUNDS):
                    at = monotonic()
                    killed += len((await connection.execute(KILL, {"some": some})).all())
                    await asyncio.sleep(2 * CALM_SECONDS)
                    trouble.append(told.last_refused(at))
                    refusals.append(len(told.refused("write", at)))
                assert await connection.scalar(text("SELECT 1"))
        lost, twice = await missing(postgres.url, told)
    figures.tell(f"{killed} ended in {ROUNDS} rounds; {told.in_words()}; at most {max(refusals)} writes refused in a round")
    figures.tell(f"last refusal {max(trouble):.2f} s after at the latest")
    figures.tell(f"{len(told.written):,} writes acknowledged, {lost} lost, {twice} there twice")
    assert killed >= ROUNDS
    assert set(told.statuses("read")) == {200}
    assert set(told.statuses("write")) <= {201, 503}
    assert max(refusals) <= WRITES
    assert max(trouble) <= CALM_SECONDS
    assert (lost, twice) == (0, 0)
