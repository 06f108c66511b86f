"""The outbox as it is handed on: numbers in the order of each subject whoever gives them, a position for each consumer, pruning."""

import asyncio

import pytest
from sqlalchemy import NullPool, func, insert, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession, create_async_engine

from service.db import Database, feed
from service.db.bound import Bound
from service.db.outbox import outbox

SUBJECTS, WRITERS, ROUNDS, NUMBERERS = 3, 4, 25, 3


async def note(session: AsyncConnection | AsyncSession, *subjects: str) -> None:
    """Write notes, as a unit of work does at its end."""
    await session.execute(insert(outbox), [{"subject": subject, "what": "changed"} for subject in subjects])


async def numbers(session: AsyncConnection | AsyncSession) -> list[tuple[int, str]]:
    """What is numbered, in order."""
    found = await session.execute(select(outbox.c.number, outbox.c.subject).where(outbox.c.number.is_not(None)).order_by("number"))
    return [(row.number, row.subject) for row in found]


async def test_what_is_new_gets_the_next_numbers(database: Bound) -> None:
    async with database.writing() as unit:
        await feed.ensure(unit.session, ["a"])
        await note(unit.session, "books/1", "books/2", "books/1")
        assert await feed.number(unit.session, most=2) == 2
        assert await feed.number(unit.session) == 1
        assert await feed.number(unit.session) == 0
        await note(unit.session, "books/3")
        assert await feed.number(unit.session) == 1
        assert await numbers(unit.session) == [(1, "books/1"), (2, "books/2"), (3, "books/1"), (4, "books/3")]
        told = await feed.after(unit.session, 2, most=1)
        assert [(one.number, one.subject, one.what, one.content) for one in told] == [(3, "books/1", "changed", {})]


async def test_notes_of_a_subject_keep_their_order_however_many_number(committed: Database, database_url: str) -> None:
    """Transactions that change the same rows, in an order of their own, while several relays number what they leave."""
    async with committed.writing() as unit:
        await feed.ensure(unit.session, [])
        await unit.session.execute(text("CREATE TABLE counted (id int PRIMARY KEY, times int NOT NULL)"))
        await unit.session.execute(text("INSERT INTO counted SELECT n, 0 FROM generate_series(1, :n) AS n"), {"n": SUBJECTS})
    engine = create_async_engine(database_url, pool_size=WRITERS + NUMBERERS)
    writing = True

    async def write(place: int) -> None:
        for turn in range(ROUNDS):
            async with engine.begin() as connection:
                subject = (place + turn) % SUBJECTS + 1
                times = await connection.scalar(
                    text("UPDATE counted SET times = times + 1 WHERE id = :id RETURNING times"), {"id": subject}
                )
                await connection.execute(
                    insert(outbox), {"subject": f"counted/{subject}", "what": "changed", "content": {"times": times}}
                )

    async def number() -> None:
        while writing:
            async with engine.begin() as connection:
                await feed.number(connection, most=5)

    try:
        numbering = [asyncio.create_task(number()) for _ in range(NUMBERERS)]
        await asyncio.gather(*(write(place) for place in range(WRITERS)))
        writing = False
        await asyncio.gather(*numbering)
        async with engine.begin() as connection:
            while await feed.number(connection):
                pass
            found = [(row.subject, row.content["times"], row.number) for row in
                await connection.execute(select(outbox).order_by(outbox.c.number))]  # fmt: skip
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("DROP TABLE counted"))
        await engine.dispose()
    assert len({number for _, _, number in found}) == len(found) == WRITERS * ROUNDS
    for subject in {subject for subject, _, _ in found}:
        times = [times for one, times, _ in found if one == subject]
        assert times == sorted(times), f"{subject} is told in the order {times}"


async def test_who_numbers_holds_nobody_up(committed: Database, database_url: str) -> None:
    async with committed.writing() as unit:
        await feed.ensure(unit.session, [])
        await note(unit.session, "books/1")
    engine = create_async_engine(database_url, poolclass=NullPool)
    async with committed.writing() as unit:
        assert await feed.number(unit.session) == 1
        async with engine.begin() as other:
            await other.execute(text("SET LOCAL lock_timeout = '2s'"))
            assert await feed.number(other) == 0
    await engine.dispose()


async def test_a_position_is_held_by_one(database: Bound) -> None:
    async with database.writing() as unit:
        session = unit.session
        await feed.ensure(session, ["a", "b"])
        assert await feed.hold(session, "a", "one") == 0
        assert await feed.hold(session, "a", "two") is None
        assert await feed.hold(session, "b", "two") == 0
        await feed.told(session, "a", "two", 9)
        assert await feed.hold(session, "a", "one") == 0
        await feed.told(session, "a", "one", 7)
        await feed.told(session, "a", "one", 3)
        assert await feed.hold(session, "a", "one") == 7
        await feed.let_go(session, "one")
        assert await feed.hold(session, "a", "two") == 7
        await session.execute(update(feed.consumers).values(held_until=func.clock_timestamp()))
        assert await feed.hold(session, "a", "one") == 7


async def test_a_database_has_a_name_that_stays(database: Bound) -> None:
    async with database.writing() as unit:
        await feed.ensure(unit.session, [])
        name = await feed.name_of(unit.session)
        await feed.ensure(unit.session, ["a"])
        assert await feed.hold(unit.session, "a", "one") == 0
        await feed.ensure(unit.session, ["a"])
        await feed.let_go(unit.session, "one")
        assert await feed.name_of(unit.session) == name
        assert len(name) == 36


@pytest.mark.parametrize(("positions", "left"), [({"a": 3, "b": 3}, 0), ({"a": 3, "b": 1}, 2), ({}, 0)])
async def test_what_everybody_was_told_of_is_deleted(database: Bound, positions: dict[str, int], left: int) -> None:
    async with database.writing() as unit:
        session = unit.session
        await feed.ensure(session, sorted(positions))
        await note(session, "books/1", "books/2", "books/3")
        await feed.number(session)
        for name, position in positions.items():
            await feed.hold(session, name, "one")
            await feed.told(session, name, "one", position)
        assert await feed.prune(session) == 0  # too fresh
        await session.execute(update(outbox).values(noted_at=func.clock_timestamp() - text("interval '1 hour'")))
        await note(session, "books/4")  # not numbered yet
        assert await feed.prune(session) == 3 - left
        assert await session.scalar(select(func.count()).select_from(outbox)) == left + 1


async def test_a_consumer_that_nobody_serves_any_more_holds_nothing_up(database: Bound) -> None:
    async with database.writing() as unit:
        session = unit.session
        await feed.ensure(session, ["gone"])
        await note(session, "books/1")
        await feed.number(session)
        await session.execute(update(outbox).values(noted_at=func.clock_timestamp() - text("interval '1 hour'")))
        assert await feed.prune(session) == 0
        old = func.clock_timestamp() - text(f"interval '{feed.FORGOTTEN_HOURS + 1} hours'")
        await session.execute(update(feed.consumers).values(served_at=old))
        assert await feed.prune(session) == 1
