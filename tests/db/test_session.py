"""One block, one transaction; committed at its end, rolled back by an error, the connection back in the pool either way."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text
from structlog.testing import capture_logs

from service.db import Database, Unit
from service.errors import Conflict, Internal, ValueRefused
from service.tables.authors import Author, Authors

SLEEP = text("SELECT pg_sleep(60)")


async def names(database: Database) -> list[str]:
    """The names that are committed, or seen in the transaction one is in."""
    async with database.reading() as session:
        return list(await session.scalars(select(Author.name).order_by(Author.id)))


def held(database: Database) -> int:
    """Connections that are out of their pools."""
    return int(database._reads.pool.checkedout() + database._writes.pool.checkedout())  # type: ignore[attr-defined]  # noqa: SLF001


async def test_a_block_is_committed_at_its_end(committed: Database) -> None:
    async with committed.writing() as unit:
        unit.session.add(Author(name="a"))
    assert await names(committed) == ["a"]


async def test_an_error_takes_everything_back(committed: Database) -> None:
    async def write_and_fail() -> None:
        async with committed.writing() as unit:
            await Authors(committed).create(name="a")
            unit.session.add(Author(name="b"))
            raise LookupError

    with pytest.raises(LookupError):
        await write_and_fail()
    assert await names(committed) == []


async def test_an_inner_block_joins_the_outer(committed: Database) -> None:
    async with committed.writing() as outer:
        async with committed.writing() as inner:
            inner.session.add(Author(name="a"))
        assert inner is outer
        async with Database(committed._reads, committed._writes).reading() as elsewhere:  # noqa: SLF001
            assert await elsewhere.scalar(select(func.count()).select_from(Author)) == 0
    assert await names(committed) == ["a"]


async def test_a_read_inside_sees_what_isnt_committed(committed: Database) -> None:
    async with committed.writing() as unit:
        unit.session.add(Author(name="a"))
        await unit.session.flush()
        assert await names(committed) == ["a"]


async def test_a_refusal_inside_is_a_problem_already(committed: Database) -> None:
    async with committed.writing() as unit:
        await Authors(committed).create(name="a")
        savepoint = await unit.session.begin_nested()
        with pytest.raises(Conflict):
            await Authors(committed).create(name="A")
        await savepoint.rollback()
    assert await names(committed) == ["a"]


async def test_a_task_started_inside_may_not_use_the_database(committed: Database) -> None:
    async with committed.writing():
        with pytest.raises(RuntimeError, match="await the work itself"):
            await asyncio.create_task(names(committed))


async def test_a_task_started_inside_may_use_it_afterwards(committed: Database) -> None:
    ended = asyncio.Event()

    async def later() -> list[str]:
        await ended.wait()
        return await names(committed)

    async with committed.writing() as unit:
        unit.session.add(Author(name="a"))
        task = asyncio.create_task(later())
    ended.set()
    assert await task == ["a"]


async def test_hooks_run_around_the_commit_in_order(committed: Database) -> None:
    seen: list[tuple[str, list[str]]] = []

    def hook(name: str) -> Any:
        async def run(_: Unit) -> None:
            seen.append((name, await names(committed)))

        return run

    committed.before_commit.append(hook("before all"))
    committed.after_commit.append(hook("after all"))
    async with committed.writing() as unit:
        unit.before_commit(hook("before"))
        unit.after_commit(hook("after"))
        unit.session.add(Author(name="a"))
        await unit.session.flush()
    assert seen == [("before", ["a"]), ("before all", ["a"]), ("after", ["a"]), ("after all", ["a"])]


async def test_a_hook_before_the_commit_can_stop_it(committed: Database) -> None:
    async def stop(_: Unit) -> None:
        raise ValueRefused("No.")

    async def write() -> None:
        async with committed.writing() as unit:
            unit.session.add(Author(name="a"))
            unit.before_commit(stop)

    with pytest.raises(ValueRefused):
        await write()
    assert await names(committed) == []


async def test_a_hook_after_the_commit_that_fails_is_logged_and_no_more(committed: Database) -> None:
    async def fail(_: Unit) -> None:
        raise LookupError

    with capture_logs() as logs:
        async with committed.writing() as unit:
            unit.session.add(Author(name="a"))
            unit.after_commit(fail)
    assert await names(committed) == ["a"]
    assert [line["event"] for line in logs] == ["a hook after commit failed"]


async def test_a_hook_after_the_commit_may_write_again(committed: Database) -> None:
    async def again(_: Unit) -> None:
        await Authors(committed).create(name="b")

    async with committed.writing() as unit:
        unit.session.add(Author(name="a"))
        unit.after_commit(again)
    assert await names(committed) == ["a", "b"]


async def test_a_connection_is_given_back(committed: Database) -> None:
    async with committed.reading():
        assert held(committed) == 1
    async with committed.writing():
        assert held(committed) == 1
    assert held(committed) == 0


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_a_connection_is_given_back_after_an_error(committed: Database, kind: str) -> None:
    with pytest.raises(LookupError):
        async with getattr(committed, kind)():
            raise LookupError
    assert held(committed) == 0


@pytest.mark.parametrize("kind", ["reading", "writing"])
async def test_a_connection_is_given_back_by_a_cancelled_task(committed: Database, kind: str) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with getattr(committed, kind)() as block:
            begun.set()
            await getattr(block, "session", block).execute(SLEEP)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert held(committed) == 0
    assert await names(committed) == []


async def test_a_cancelled_write_leaves_nothing(committed: Database) -> None:
    begun = asyncio.Event()

    async def work() -> None:
        async with committed.writing() as unit:
            await Authors(committed).create(name="a")
            begun.set()
            await unit.session.execute(SLEEP)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await names(committed) == []


async def test_a_read_cannot_write(committed: Database) -> None:
    with pytest.raises(Internal):
        async with committed.reading() as session:
            await session.execute(text("INSERT INTO authors (name) VALUES ('a')"))
    assert await names(committed) == []
