"""One block, one transaction; committed at its end, rolled back by an error, the connection back in the pool either way."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncSession
from structlog.testing import capture_logs

from service.db import Database, Unit
from service.db.deadline import DEADLINE, Deadline
from service.errors import Conflict, Internal, TimedOut, Unavailable, ValueRefused
from service.tables.authors import Author, Authors

SLEEP = text("SELECT pg_sleep(60)")


async def names(database: Database) -> list[str]:
    """The names that are committed, or seen in the transaction one is in."""
    async with database.reading() as session:
        return list(await session.scalars(select(Author.name).order_by(Author.id)))


def held(database: Database) -> int:
    """Connections that are out of their pools."""
    return sum(leases.pool.checkedout() for leases in database.pools())


async def quiet(database: Database) -> None:
    """Wait until no connection is being mended."""
    for leases in database.pools():
        await leases.quiet()


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
        async with Database(committed.reads.engine, committed.writes.engine).reading() as elsewhere:
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
    await quiet(committed)
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


async def terminated(database: Database, session: AsyncSession) -> None:
    """End the connection of a session from elsewhere, and wait for that."""
    pid = await session.scalar(text("SELECT pg_backend_pid()"))
    async with database.aside() as elsewhere:
        assert await elsewhere.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})


async def test_a_read_whose_connection_is_lost_is_asked_again(committed: Database) -> None:
    asked: list[int] = []

    async def ask(session: AsyncSession) -> int:
        asked.append(1)
        if len(asked) == 1:
            await terminated(committed, session)
        return int(await session.scalar(text("SELECT 7")) or 0)

    assert await committed.read(ask) == 7
    assert (len(asked), committed.again["reads"]) == (2, 1)


async def test_a_read_is_asked_again_once(committed: Database) -> None:
    asked: list[int] = []

    async def ask(session: AsyncSession) -> None:
        asked.append(1)
        await terminated(committed, session)
        await session.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        await committed.read(ask)
    assert len(asked) == 2
    await quiet(committed)
    assert held(committed) == 0


async def test_a_read_that_is_refused_is_not_asked_again(committed: Database) -> None:
    asked: list[int] = []

    async def ask(session: AsyncSession) -> None:
        asked.append(1)
        await session.execute(text("SELECT 1 / 0"))

    with pytest.raises(ValueRefused):
        await committed.read(ask)
    assert len(asked) == 1


async def test_a_read_in_a_unit_is_a_part_of_it(committed: Database) -> None:
    asked: list[int] = []

    async def ask(session: AsyncSession) -> None:
        asked.append(1)
        await terminated(committed, session)
        await session.execute(text("SELECT 1"))

    async def unit() -> None:
        async with committed.writing():
            await committed.read(ask)

    with pytest.raises(Unavailable):
        await unit()
    assert len(asked) == 1


async def test_a_connection_is_not_asked_for_twice(committed: Database) -> None:
    async with committed.reading():
        with pytest.raises(RuntimeError, match="while another one is held"):
            await names(committed)
    assert held(committed) == 0


async def test_a_lease_would_not_see_the_unit_that_it_is_taken_in(committed: Database) -> None:
    async with committed.writing():
        with pytest.raises(RuntimeError, match="sees nothing of the unit"):
            committed.lease()
    async with committed.lease() as driver:
        assert await driver.fetchval("SELECT 7") == 7


class Failing:
    """A write that the database ends some times before it lets it through."""

    def __init__(self, database: Database, state: str, times: int) -> None:
        self.database, self.state, self.times = database, state, times
        self.attempts = 0

    async def __call__(self) -> str:
        """Try once more."""
        self.attempts += 1
        async with self.database.writing() as unit:
            unit.session.add(Author(name=f"attempt {self.attempts}" if self.times else "done"))
            await unit.session.flush()
            if self.attempts <= self.times:
                await unit.session.execute(text(f"DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '{self.state}'; END $$"))
        return f"attempt {self.attempts}"


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_a_write_that_collided_is_done_again(committed: Database, state: str) -> None:
    work = Failing(committed, state, 1)
    assert await committed.attempt(work) == "attempt 2"
    assert await names(committed) == ["attempt 2"]
    assert committed.again["writes"] == 1


@pytest.mark.parametrize(("state", "times", "attempts"), [("40001", 2, 2), ("55P03", 1, 1), ("57014", 1, 1)])
async def test_a_write_is_done_again_once_and_only_then(committed: Database, state: str, times: int, attempts: int) -> None:
    work = Failing(committed, state, times)
    with pytest.raises(TimedOut):
        await committed.attempt(work)
    assert work.attempts == attempts
    assert await names(committed) == []


async def test_a_part_of_a_unit_is_not_done_again_by_itself(committed: Database) -> None:
    work = Failing(committed, "40001", 1)

    async def unit() -> None:
        async with committed.writing():
            await committed.attempt(work)

    with pytest.raises(TimedOut):
        await unit()
    assert work.attempts == 1


async def test_what_may_be_committed_is_not_done_again(committed: Database) -> None:
    done = Failing(committed, "40001", 0)
    fails = Failing(committed, "40001", 1)

    async def both() -> None:
        await done()
        await fails()

    with pytest.raises(TimedOut):
        await committed.attempt(both)
    assert (done.attempts, fails.attempts) == (1, 1)
    assert await names(committed) == ["done"]


async def test_a_collision_at_the_commit_is_no_commit(committed: Database) -> None:
    attempts: list[int] = []

    async def write() -> None:
        attempts.append(1)
        async with committed.writing() as unit:
            unit.session.add(Author(name=f"attempt {len(attempts)}"))
            await unit.session.flush()
            if len(attempts) == 1:
                await unit.session.execute(DEFERRED)

    await committed.attempt(write)
    assert await names(committed) == ["attempt 2"]


# A trigger that fails when the transaction is committed, as a deferred constraint does; the table is the transaction's own.
DEFERRED = text("""
DO $$ BEGIN
    CREATE FUNCTION pg_temp.collide() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RAISE EXCEPTION USING ERRCODE = ''40P01''; END';
    CREATE TEMP TABLE collides (id int);
    CREATE CONSTRAINT TRIGGER collides AFTER INSERT ON collides DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION pg_temp.collide();
    INSERT INTO collides VALUES (1);
END $$
""")


async def test_a_write_whose_connection_is_lost_before_its_commit_is_done_again(committed: Database) -> None:
    attempts: list[int] = []

    async def write() -> None:
        attempts.append(1)
        async with committed.writing() as unit:
            if len(attempts) == 1:
                await terminated(committed, unit.session)
            unit.session.add(Author(name=f"attempt {len(attempts)}"))

    await committed.attempt(write)
    assert await names(committed) == ["attempt 2"]


async def test_a_commit_whose_end_nobody_saw_is_told_as_that(committed: Database) -> None:
    attempts: list[int] = []

    async def end(unit: Unit) -> None:
        await terminated(committed, unit.session)

    async def write() -> None:
        attempts.append(1)
        async with committed.writing() as unit:
            unit.session.add(Author(name="a"))
            unit.before_commit(end)

    with pytest.raises(Unavailable, match="may or may not have been done") as raised:
        await committed.attempt(write)
    assert raised.value.extra == {"outcome": "unknown"}
    assert len(attempts) == 1


async def test_from_its_commit_on_a_unit_stands_firm(committed: Database) -> None:
    deadline = Deadline(0.0)
    seen: list[bool] = []

    async def look(_: Unit) -> None:
        seen.append(deadline.firm)

    async with committed.writing() as unit:
        before = DEADLINE.set(deadline)
        unit.before_commit(look)
        unit.after_commit(look)
    DEADLINE.reset(before)
    assert seen == [False, True]


async def test_hooks_after_a_commit_hold_no_connection(committed: Database) -> None:
    seen: list[int] = []

    async def look(_: Unit) -> None:
        seen.append(held(committed))

    async with committed.writing() as unit:
        unit.after_commit(look)
    assert seen == [0]


async def test_the_connection_aside_waits_for_nobody(committed: Database) -> None:
    readers = [asyncio.create_task(_hold(committed)) for _ in range(committed.reads.gate.permits)]
    while committed.reads.gate.free:  # noqa: ASYNC110  # they all take one
        await asyncio.sleep(0)
    async with committed.aside() as session:
        assert await session.scalar(text("SELECT 7")) == 7
    for reader in readers:
        reader.cancel()
    await asyncio.wait(readers)


async def _hold(database: Database) -> None:
    async with database.reading():
        await asyncio.Event().wait()
