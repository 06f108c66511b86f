"""Events are appended with what they tell of, and asked for by time or by what they are about."""

import pytest
from httpx import AsyncClient

from service.db.bound import Bound
from service.tables.events import Events
from tests.factories.events import EventFactory
from tests.fixtures.statements import Queries, ServedBy


async def test_what_happened_to_something_the_latest_first(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    first, last = await EventFactory.create_batch(2, subject="loans/7", payload={"member_id": 1})
    await EventFactory.create()
    async with served_by("ix_events_of_subject"):
        answer = await client.get("/v1/events?subject=loans/7&sort=-id")
        found = await Events(database).about("loans/7")
    assert [row["id"] for row in answer.json()["data"]] == [event.id for event in found] == [last.id, first.id]


async def test_what_happened_in_time(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    made = await EventFactory.create_batch(2)
    async with served_by("ix_events_in_time"):
        answer = await client.get("/v1/events?sort=occurred_at&occurred_at__gte=2000-01-01T00:00:00Z")
    assert [row["id"] for row in answer.json()["data"]] == [event.id for event in made]


async def test_events_of_one_unit_are_one_statement(database: Bound, queries: Queries) -> None:
    queries.clear()
    async with database.writing():
        for number in range(3):
            await Events(database).record("loan.opened", "loans/7", number=number)
    assert len(queries) == 1, str(queries)
    assert [event.payload for event in await Events(database).about("loans/7")] == [{"number": number} for number in (2, 1, 0)]


async def test_what_is_undone_did_not_happen(database: Bound) -> None:
    async def fail() -> None:
        async with database.writing():
            await Events(database).record("loan.opened", "loans/7")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await Events(database).about("loans/7") == []


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_nobody_writes_events_but_the_acts(client: AsyncClient, method: str) -> None:
    assert (await client.request(method, "/v1/events" + ("" if method == "POST" else "/1"))).status_code == 405
