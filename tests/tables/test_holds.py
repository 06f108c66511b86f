"""Lists of holds, as a client asks for them, and the queue's own queries."""

import datetime

import pytest
from httpx import AsyncClient

from service.db.bound import Bound
from service.errors import Conflict
from service.tables.holds import Holds
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.members import MemberFactory
from tests.fixtures.statements import ServedBy


def placed(year: int) -> datetime.datetime:
    """The beginning of a year."""
    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)


async def test_the_next_in_line(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    book = await BookFactory.create()
    late, early = [await HoldFactory.create(book=book, placed_at=placed(year)) for year in (2022, 2021)]
    await HoldFactory.create(book=book, placed_at=placed(2020), status="cancelled")
    await HoldFactory.create()
    async with served_by("ix_holds_queue"):
        answer = await client.get(f"/v1/holds?book_id={book.id}&status=waiting&limit=1")
        found = await Holds(database).waiting(book.id)
        places = [await Holds(database).place_of(hold, 10) for hold in (early, late)]
    assert [row["id"] for row in answer.json()["data"]] == [early.id]
    assert [hold.id for hold in found] == [early.id, late.id]
    assert places == [1, 2]
    assert await Holds(database).place_of(late, 1) is None


async def test_a_members_holds(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    member = await MemberFactory.create()
    late, early = [await HoldFactory.create(member=member, placed_at=placed(year)) for year in (2022, 2021)]
    async with served_by("ix_holds_of_member"):
        answer = await client.get(f"/v1/holds?member_id={member.id}")
    assert [row["id"] for row in answer.json()["data"]] == [early.id, late.id]


async def test_those_that_expired(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    made = [
        await HoldFactory.create(status="ready", expires_at=placed(year), copy_id=(await CopyFactory.create(status="set_aside")).id)
        for year in (2023, 2021, 2022)
    ]
    async with served_by("ix_holds_expiring"):
        found = await Holds(database).expired(placed(2022), 10)
        answer = await client.get("/v1/holds?status=ready&sort=expires_at&expires_at__lte=2022-01-01T00:00:00Z")
    assert list(found) == [made[1].id, made[2].id] == [row["id"] for row in answer.json()["data"]]


async def test_the_open_hold_of_a_member(database: Bound, served_by: ServedBy) -> None:
    hold = await HoldFactory.create()
    async with served_by("uq_holds_waiting", "uq_holds_ready"):
        found = await Holds(database).open_of(hold.book_id, hold.member_id)
    assert found
    assert found.id == hold.id
    await Holds(database).cancel(hold.id)
    assert await Holds(database).open_of(hold.book_id, hold.member_id) is None


async def test_indexes_stop_two_holds_of_one_kind(database: Bound) -> None:
    hold = await HoldFactory.create()
    copy = await CopyFactory.create(book=hold.book)
    holds = Holds(database)
    with pytest.raises(Conflict, match="book_id and member_id"):
        await holds.placed(hold.book_id, hold.member_id, None, 7)
    await holds.placed(hold.book_id, (await MemberFactory.create()).id, copy.id, 7)
    with pytest.raises(Conflict, match="copy_id"):
        await holds.placed(hold.book_id, (await MemberFactory.create()).id, copy.id, 7)


async def test_a_queue_of_no_book(database: Bound) -> None:
    book = await BookFactory.create()
    async with database.writing():
        assert await Holds(database).lock_queue(book.id)
        assert not await Holds(database).lock_queue(book.id + 1)
