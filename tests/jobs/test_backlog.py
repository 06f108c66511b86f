"""How much work there is, counted by state, and nothing told that is old."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, text

from service.db import Database
from service.jobs import backlog, transitions
from service.jobs.backlog import Backlog, Counted, counted
from service.jobs.job import How, enqueue
from service.jobs.slots import workers
from tests.jobs.errands import passed, write


async def test_each_job_is_counted_where_it_belongs(committed: Database) -> None:
    async with committed.writing() as unit:
        assert await counted(unit.session) == Counted(0, 0, 0, 0, 0, 0, 0.0)
        await unit.session.execute(insert(workers), {"id": "one", "slots": 3})
        await enqueue(write, How(after=timedelta(hours=1)), names=["delayed"])
        failed, running, handed = [await enqueue(write, names=[]) for _ in range(3)]
        claims = dict(await transitions.hand_out(unit.session, 3))
        for id_ in (failed, running):
            await transitions.start(unit.session, (id_, claims[id_]))
        await transitions.fail(unit.session, (failed, claims[failed]), "no", final=True)
        waiting = await enqueue(write, names=[])
        await passed(unit.session, waiting, 100)
        found = await counted(unit.session)
    assert found.oldest_seconds == pytest.approx(100, abs=10)
    assert (found.workers, found.slots, found.waiting, found.delayed, found.running, found.failed) == (1, 3, 2, 1, 1, 1)
    assert handed in claims


async def test_numbers_are_told_while_they_are_fresh(committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    chore = Backlog()
    assert list(chore.told()) == []
    async with committed.writing():
        await enqueue(write, names=[])
    async with committed.writes.engine.connect() as connection:
        assert not await chore.step(connection)
    told = {(name, *labels): numbers for name, labels, numbers in chore.told()}
    assert told["shelfmark_jobs", "waiting"] == [1]
    assert told["shelfmark_jobs", "failed"] == [0]
    assert told["shelfmark_job_workers",] == [0]
    monkeypatch.setattr(backlog, "STALE_SECONDS", -1.0)
    assert list(chore.told()) == []


async def test_it_looks_now_and_then(committed: Database) -> None:
    chore = Backlog()
    async with committed.writes.engine.connect() as connection:
        await chore.step(connection)
        async with connection.begin():
            await connection.execute(text("INSERT INTO shelfmark_workers (id, slots) VALUES ('a', 1)"))
        await chore.step(connection)
    assert ("shelfmark_job_workers", (), [0]) in list(chore.told())
