"""Whose turn it is: a job that has begun, then the one that was asked for first; of one table and source, while it is open."""

from typing import Any

import pytest
from sqlalchemy import text

from service.db.bound import Bound
from service.errors import SetupError
from service.jobs import turns
from service.jobs.job import enqueue
from service.jobs.uploads import import_upload

BEGUN = text("UPDATE shelfmark_jobs SET checkpoint = '{}' WHERE id = :id")
LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('shelfmark import books s', 0))")
OWN = text("SELECT current_setting('application_name')")
OVER = {
    "done": text("UPDATE shelfmark_jobs SET state = 'done', finished_at = clock_timestamp() WHERE id = :id"),
    "to be cancelled": text("UPDATE shelfmark_jobs SET cancel_at = clock_timestamp() WHERE id = :id"),
}


async def asked(database: Bound, source: str = "s") -> int:
    """An import that waits."""
    async with database.writing():
        return await enqueue(import_upload, table="books", upload=1, source=source)


async def changed(database: Bound, statement: Any, id_: int) -> None:
    """Change a job's row."""
    async with database.writing() as unit:
        await unit.session.execute(statement, {"id": id_})


async def ahead(database: Bound, id_: int, *, fresh: bool = True) -> bool:
    """Whether another one goes before it."""
    async with database.reading() as session:
        return await turns.is_ahead(session, "books", "s", id_=id_, fresh=fresh)


async def test_the_order(database: Bound) -> None:
    first, second, third = [await asked(database) for _ in range(3)]
    assert [await ahead(database, id_) for id_ in (first, second, third)] == [False, True, True]
    await changed(database, BEGUN, third)
    assert [await ahead(database, first), await ahead(database, third, fresh=False)] == [True, False]
    await changed(database, BEGUN, second)
    assert [await ahead(database, second, fresh=False), await ahead(database, third, fresh=False)] == [False, True]


@pytest.mark.parametrize("how", OVER)
async def test_who_is_over_is_in_nobodys_way(database: Bound, how: str) -> None:
    first, second = await asked(database), await asked(database)
    assert await ahead(database, second)
    await changed(database, OVER[how], first)
    assert not await ahead(database, second)


async def test_another_source_has_turns_of_its_own(database: Bound) -> None:
    await asked(database, "other")
    assert not await ahead(database, await asked(database))


async def test_one_that_runs_is_seen_by_its_lock(database: Bound) -> None:
    async with database.writing() as unit:
        assert not await turns.is_held(unit.session, "books", "s", own="another's")
        await unit.session.execute(LOCK)
        own = str(await unit.session.scalar(OWN))
        assert await turns.is_held(unit.session, "books", "s", own="another's")
        assert not await turns.is_held(unit.session, "books", "t", own="another's")
        assert not await turns.is_held(unit.session, "books", "s", own=own)


async def test_nobody_comes_between_two_runs(database: Bound) -> None:
    job = await asked(database)
    async with database.writing() as unit:
        connection = await unit.session.connection()
        await turns.refuse_between(connection, "books", "s")
        await connection.execute(BEGUN, {"id": job})
        await turns.refuse_between(connection, "books", "other")
        with pytest.raises(SetupError, match=rf"Job {job} imports into books from the source 's' .*`shelfmark jobs cancel {job}`"):
            await turns.refuse_between(connection, "books", "s")
