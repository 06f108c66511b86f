"""A worker's slots: as many runs as there are, leases renewed whatever else goes on, each run ended as it should."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import Database
from service.jobs import slots as slots_module
from service.jobs import transitions
from service.jobs.job import Job, enqueue
from service.jobs.running import Run
from service.jobs.slots import Slots, workers
from service.jobs.transitions import Claim
from service.tables.authors import Authors
from tests.jobs.errands import JOBS, authors, handed_out, passed, row, wait, write
from tests.waiting import until

GRACE = 5.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beats come sooner."""
    monkeypatch.setattr(slots_module, "BEAT_SECONDS", 0.02)


async def claims(database: Database, *work: Job[Any], **named: Any) -> list[Claim]:
    """Jobs asked for and handed out."""
    async with database.writing():
        for one in work:
            await enqueue(one, **named)
    async with database.writing() as unit:
        return await handed_out(unit.session)


@asynccontextmanager
async def working(
    database: Database, most: int = 2, jobs: dict[str, Job[Any]] | None = None, grace: float = GRACE
) -> AsyncIterator[Slots]:
    """Slots that are kept."""
    made = Slots(database, jobs or JOBS, most)
    async with made.kept(grace):
        yield made


async def state(database: Database, claim: Claim) -> str:
    """What its job's row says."""
    return (await row(database, claim[0])).state


async def test_what_it_is_woken_for_is_run_once(committed: Database) -> None:
    ended: list[None] = []
    (claim,) = await claims(committed, write, names=["one"])
    async with working(committed) as slots:
        slots.ended = lambda: ended.append(None)
        await asyncio.gather(*(slots.take(claim) for _ in range(3)))
        await slots.take((claim[0], claim[1] - 1))
    assert await state(committed, claim) == "done"
    assert await authors(committed) == ["one"]
    assert len(ended) >= 2
    assert ("shelfmark_job_runs_total", ("test.write", "done"), [1]) in list(slots.told())


async def test_no_more_run_than_there_are_slots(committed: Database) -> None:
    running, most = 0, 0

    async def counted(_run: Run) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.02)
        running -= 1

    work: Job[Any] = Job("test.counted", counted)
    found = await claims(committed, *[work] * 6)
    async with working(committed, 2, {work.name: work}) as slots:
        await asyncio.gather(*map(slots.take, found))
    assert most == 2


async def test_whoever_waits_for_a_slot_may_be_broken_off_and_who_runs_goes_on(committed: Database) -> None:
    """As arq does when Redis goes away."""
    first, second = await claims(committed, wait, name="one"), await claims(committed, write, names=["two"])
    async with working(committed, 1, grace=0.0) as slots:
        taking = [asyncio.create_task(slots.take(claim)) for claim in (*first, *second)]
        await until(lambda: _has_advanced(committed, first[0]))
        for task in taking:
            task.cancel()
        await asyncio.wait(taking)
        assert await state(committed, first[0]) == "running"
        assert slots.running == 1
        assert await state(committed, second[0]) == "queued"
    assert await state(committed, first[0]) == "queued"  # handed back


async def test_a_beat_breaks_no_run_off_that_is_just_beginning(committed: Database, importing_engine: AsyncEngine) -> None:
    """It may wait for a connection, or for its row."""
    (claim,) = await claims(committed, write, names=["one"])
    async with working(committed) as slots:
        async with importing_engine.begin() as holding:
            await holding.execute(text("SELECT FROM shelfmark_jobs FOR UPDATE"))
            taking = asyncio.create_task(slots.take(claim))
            await until(lambda: slots.running)
            for _ in range(3):
                await slots.beat()
        await taking
    assert await state(committed, claim) == "done"


async def test_leases_are_renewed_while_the_jobs_keep_every_connection_that_they_may(committed: Database) -> None:
    hold, most = asyncio.Event(), committed.writes.gate.permits - 1

    async def busy(run: Run) -> None:
        async with run.chunk():
            run.reached(1)
            await hold.wait()

    work: Job[Any] = Job("test.busy", busy)
    found = await claims(committed, *[work] * most)
    async with working(committed, most, {work.name: work}) as slots:
        taking = [asyncio.create_task(slots.take(claim)) for claim in found]
        await until(lambda: committed.writes.gate.free <= 1)
        async with committed.writing() as unit:
            for claim in found:
                await passed(unit.session, claim[0], 25)
        await until(lambda: _leases_are_long(committed))
        hold.set()
        await asyncio.gather(*taking)
    assert [await state(committed, claim) for claim in found] == ["done"] * most


async def test_a_run_whose_job_is_cancelled_is_broken_off(committed: Database) -> None:
    (claim,) = await claims(committed, wait, name="one")
    async with working(committed) as slots:
        taking = asyncio.create_task(slots.take(claim))
        await until(lambda: _has_advanced(committed, claim))
        async with committed.writing() as unit:
            await transitions.cancel(unit.session, claim[0])
        await taking
        assert slots.running == 0
    found = await row(committed, claim[0])
    assert (found.state, found.finished_at is not None) == ("cancelled", True)
    assert await authors(committed) == ["one"]  # whole chunks stay


async def test_a_run_that_was_overtaken_is_broken_off(committed: Database) -> None:
    (claim,) = await claims(committed, wait, name="one")
    async with working(committed) as slots:
        taking = asyncio.create_task(slots.take(claim))
        await until(lambda: _has_advanced(committed, claim))
        async with committed.writing() as unit:
            await unit.session.execute(text("UPDATE shelfmark_jobs SET due_at = clock_timestamp(), lease = 0"))
            assert await handed_out(unit.session) == [(claim[0], claim[1] + 1)]
        await taking
    found = await row(committed, claim[0])
    assert (found.state, found.claim, found.handed) == ("queued", claim[1] + 1, True)


async def test_whatever_goes_wrong_with_a_beat_the_next_one_comes(committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what nobody has thought of."""
    failures = [ValueError("odd"), ZeroDivisionError()]
    renew = transitions.renew

    async def fails(*given: Any) -> Any:
        if failures:
            raise failures.pop()
        return await renew(*given)

    monkeypatch.setattr(transitions, "renew", fails)
    (claim,) = await claims(committed, wait, name="one")
    async with working(committed, grace=0.0) as slots:
        taking = asyncio.create_task(slots.take(claim))
        await until(lambda: not failures)
        async with committed.writing() as unit:
            await passed(unit.session, claim[0], 2)
        await until(lambda: _leases_are_long(committed, "1 second"))
    await taking


async def test_what_runs_may_end_within_its_grace_and_what_does_not_is_handed_back(committed: Database) -> None:
    ends = asyncio.Event()

    async def finish(run: Run) -> None:
        await ends.wait()
        async with run.chunk():
            await Authors(run.database).create(name="ended")
            run.reached(1)

    work: Job[Any] = Job("test.finish", finish)
    (quick,), (slow,) = await claims(committed, work), await claims(committed, wait, name="one")
    async with working(committed, 2, JOBS | {work.name: work}, grace=0.5) as slots:
        taking = [asyncio.create_task(slots.take(claim)) for claim in (quick, slow)]
        await until(lambda: _has_advanced(committed, slow))
        asyncio.get_running_loop().call_later(0.05, ends.set)
    await asyncio.gather(*taking)
    assert await state(committed, quick) == "done"
    found = await row(committed, slow[0])
    assert (found.state, found.failures, found.checkpoint) == ("queued", 0, 1)
    async with committed.writing() as unit:
        assert await handed_out(unit.session) == [(slow[0], slow[1] + 1)]


async def test_a_run_that_loses_a_cancellation_is_handed_back_all_the_same(committed: Database) -> None:
    lost = 0

    async def lose(run: Run) -> None:
        nonlocal lost
        async with run.chunk():
            run.reached(1)
        while lost < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                lost += 1
        await asyncio.Event().wait()

    work: Job[Any] = Job("test.lose", lose)
    (claim,) = await claims(committed, work)
    async with working(committed, 1, {work.name: work}, grace=0.0) as slots:
        taking = asyncio.create_task(slots.take(claim))
        await until(lambda: _has_advanced(committed, claim))
    await taking
    assert (lost, await state(committed, claim)) == (2, "queued")


async def test_a_worker_that_ends_is_no_more_counted_on(committed: Database) -> None:
    (claim,) = await claims(committed, wait, name="one")
    async with working(committed, grace=0.5) as slots:
        await until(lambda: _workers(committed))
        taking = asyncio.create_task(slots.take(claim))
        await until(lambda: _has_advanced(committed, claim))
        leaving = asyncio.create_task(slots._settle(0.5))  # noqa: SLF001
        await until(lambda: _no_workers(committed))
        assert slots.running == 1
        for _ in range(3):
            await slots.beat()
        assert await _no_workers(committed)
        await leaving
    await taking


async def test_one_that_only_hands_out_has_no_slots(committed: Database) -> None:
    async with working(committed, 0) as slots:
        await slots.beat()
        assert await _no_workers(committed)
    assert ("shelfmark_job_slots", (), [0]) in list(slots.told())


async def _has_advanced(database: Database, claim: Claim) -> bool:
    return (await row(database, claim[0])).checkpoint is not None


async def _workers(database: Database) -> list[str]:
    async with database.reading() as session:
        return list(await session.scalars(select(workers.c.id)))


async def _no_workers(database: Database) -> bool:
    return not await _workers(database)


async def _leases_are_long(database: Database, least: str = "20 seconds") -> bool:
    async with database.reading() as session:
        sql = f"SELECT min(due_at) > clock_timestamp() + interval '{least}' FROM shelfmark_jobs WHERE state = 'running'"
        return bool(await session.scalar(text(sql)))
