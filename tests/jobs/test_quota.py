"""How much of the background one API key may have."""

import asyncio
import datetime

import pytest
from sqlalchemy import update

from service.db import Database
from service.errors import TooManyRequests
from service.jobs.files import FILES, NOW
from service.jobs.job import How, enqueue
from service.jobs.pruning import prune
from service.jobs.quota import Quota, open_of, sent_of
from service.jobs.spool import Kind, Spool
from service.settings import Settings
from tests.fixtures.jobs import worked_off


async def begun(database: Database, quota: Quota, key: str = "k") -> int:
    """An upload that was let in."""
    async with database.writing() as unit:
        await quota.admit(unit.session, key)
        return await Spool(database).open("f", "upload", asked_by=key)


async def test_open_jobs_and_uploads_under_way_count(committed: Database, settings: Settings) -> None:
    quota = Quota(2, 1000)
    file = await begun(committed, quota)
    async with committed.writing():
        await enqueue(prune, How(asked_by="k"))
    with pytest.raises(TooManyRequests, match="2 jobs of this API key haven't ended") as caught:
        await begun(committed, quota)
    assert caught.value.retry_after
    await begun(committed, quota, "another's")
    await worked_off(committed, settings)  # the job ends
    await begun(committed, quota)
    with pytest.raises(TooManyRequests):
        await begun(committed, quota)
    await Spool(committed).release(file)  # an upload is broken off
    await begun(committed, quota)


async def test_what_is_kept_of_rejects_counts_like_the_upload(committed: Database) -> None:
    spool = Spool(committed)
    sizes: dict[Kind, int] = {"upload": 5, "rejects": 70, "export": 900}
    for kind, size in sizes.items():
        await spool.append(await spool.open("f", kind, asked_by="k"), b"x" * size)
    async with committed.reading() as session:
        assert (await sent_of(session, "k"))[0] == 75
        assert (await sent_of(session, "k", "export"))[0] == 900


async def test_of_many_at_once_no_more_are_let_in(committed: Database) -> None:
    quota = Quota(3, 1000)
    ends = await asyncio.gather(*(begun(committed, quota) for _ in range(12)), return_exceptions=True)
    assert sum(isinstance(end, int) for end in ends) == 3
    assert {type(end) for end in ends} == {int, TooManyRequests}
    async with committed.reading() as session:
        assert await open_of(session, "k") == 3


async def test_bytes_of_files_that_are_written_at_once(committed: Database) -> None:
    """All of them were begun when nothing was sent yet."""
    quota, spool = Quota(10, 1000), Spool(committed)
    files = [await begun(committed, quota) for _ in range(10)]

    async def add(file: int, size: int) -> None:
        async with committed.writing() as unit:
            await quota.check(unit.session, "k", size)
            await spool.append(file, b"x" * size)

    await add(files[0], 900)
    with pytest.raises(TooManyRequests, match="Of these 100 are left"):
        await add(files[1], 101)
    await add(files[1], 100)
    ends = await asyncio.gather(*(add(file, 1) for file in files), return_exceptions=True)
    assert {type(end) for end in ends} == {TooManyRequests}
    async with committed.reading() as session:
        assert (await sent_of(session, "k"))[0] == 1000


async def test_bytes_of_a_day(committed: Database) -> None:
    quota, spool = Quota(10, 1000), Spool(committed)
    file = await begun(committed, quota)
    await spool.append(file, b"x" * 900)
    await spool.seal(file)
    async with committed.writing() as unit:
        allowance = await quota.admit(unit.session, "k")
    allowance.take(60)
    allowance.take(40)
    with pytest.raises(TooManyRequests, match=r"1,000 bytes within 24 hours. Of these 0 are left") as caught:
        allowance.take(1)
    assert 86_000 < (caught.value.retry_after or 0) <= 86_400
    async with committed.writing() as unit:
        old = NOW - datetime.timedelta(hours=23)
        await unit.session.execute(update(FILES).values(created_at=old))
    async with committed.reading() as session:
        sent, seconds = await sent_of(session, "k")
    assert sent == 900
    assert 3_500 < seconds <= 3_600
    async with committed.writing() as unit:
        await unit.session.execute(update(FILES).values(created_at=NOW - datetime.timedelta(hours=25)))
    async with committed.reading() as session:
        assert (await sent_of(session, "k"))[0] == 0
