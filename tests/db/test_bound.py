"""The transactional database of the tests: whatever the service commits in it is undone."""

import asyncio

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db.bound import Bound, rolled_back
from service.errors import Conflict, NotFound, Unavailable
from service.tables.authors import Author, Authors


async def count(engine: AsyncEngine) -> int:
    """Rows that another connection sees."""
    async with engine.connect() as connection:
        return int(await connection.scalar(select(func.count()).select_from(Author)) or 0)


async def test_what_was_committed_is_undone(engine: AsyncEngine) -> None:
    async with rolled_back(engine) as database:
        row = await Authors(database).create(name="a")
        assert (await Authors(database).get(row.id)).name == "a"
        assert await count(engine) == 0
    assert await count(engine) == 0


async def test_what_was_rolled_back_inside_is_gone_inside(database: Bound) -> None:
    async def fail() -> None:
        async with database.writing():
            await Authors(database).create(name="a")
            raise LookupError

    kept = await Authors(database).create(name="kept")
    with pytest.raises(LookupError):
        await fail()
    assert [row.name for row in await Authors(database).many(range(kept.id, kept.id + 9))] == ["kept"]


async def test_an_error_poisons_nothing(database: Bound) -> None:
    authors = Authors(database)
    await authors.create(name="a")
    with pytest.raises(Conflict):
        await authors.create(name="A")
    assert (await authors.create(name="b")).name == "b"
    with pytest.raises(NotFound):
        await authors.get(0)


async def test_an_error_of_a_read_poisons_nothing(database: Bound) -> None:
    with pytest.raises(Unavailable, match="lacks a table"):
        async with database.reading() as session:
            await session.execute(text("SELECT * FROM no_such_table"))
    assert await Authors(database).create(name="a")


async def test_two_tasks_take_turns(database: Bound) -> None:
    seen: list[str] = []

    async def write(name: str) -> None:
        async with database.writing():
            seen.append(name)
            await Authors(database).create(name=name)
            seen.append(name)

    await asyncio.gather(*map(write, "abc"))
    assert seen == ["a", "a", "b", "b", "c", "c"]


async def test_a_read_inside_a_write_sees_its_rows(database: Bound) -> None:
    async with database.writing():
        row = await Authors(database).create(name="a")
        async with database.reading() as session:
            assert await session.scalar(select(Author.name).where(Author.id == row.id)) == "a"


async def test_a_read_inside_a_read_is_a_mistake_here_too(database: Bound) -> None:
    async with database.reading():
        with pytest.raises(RuntimeError, match="while another one is held"):
            await Authors(database).many([1])
    assert await Authors(database).create(name="a")


async def test_a_task_started_inside_a_write_may_not_use_it(database: Bound) -> None:
    async with database.writing():
        with pytest.raises(RuntimeError, match="await the work itself"):
            await asyncio.create_task(Authors(database).many([1]))


async def test_the_connection_is_free_after_a_cancelled_task(database: Bound) -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        async with database.writing():
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await Authors(database).create(name="a")
