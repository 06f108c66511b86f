"""F14, keys and idempotency: a process whose clock is off decides by the database's clock, as the others do."""

from email.utils import parsedate_to_datetime
from time import time
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import text

from service.db import Database
from service.http.tokens import prefix_of
from tests.db.storms import watching
from tests.faults.figures import FAKETIME, Figures, fault
from tests.faults.load import author_of
from tests.faults.served import Serving, served
from tests.fixtures.databases import settings_of
from tests.fixtures.keys import ADMIN, bearer, granted

EXPIRES = text(
    "UPDATE shelfmark_keys SET expires_at = clock_timestamp() + CAST(CAST(:within AS text) AS interval) WHERE prefix = :prefix"
)
AGES = text("UPDATE shelfmark_answers SET answered_at = clock_timestamp() - CAST(CAST(:age AS text) AS interval)")
ROWS = text("SELECT count(*) FROM books WHERE title = :title")
LIVES, EXPIRED = "30 minutes", "-30 minutes"
FRESH, OLD = "23 hours 30 minutes", "24 hours 30 minutes"
"""Half an hour on either side, by the database's clock: one that is an hour off would take one of them for the other."""


async def keyed(url: str, expires: str) -> str:
    """A key that expires in so much time; negative: it has expired."""
    database = Database.connect(url, settings_of(url))
    token = await granted(database, "*:read")
    await database.close()
    async with watching(url) as connection:
        await connection.execute(EXPIRES, {"within": expires, "prefix": prefix_of(token.encode())})
    return token


async def read(serving: Serving, token: str) -> int:
    """The status of a read with a key."""
    async with AsyncClient(base_url=serving.base, headers=bearer(token)) as client:
        return (await client.get("/v1/authors")).status_code


async def write(serving: Serving, book: dict[str, object], key: str) -> Response:
    """Ask for a book, under an idempotency key."""
    async with AsyncClient(base_url=serving.base, headers=bearer(ADMIN)) as client:
        return await client.post("/v1/books", json=book, headers={"Idempotency-Key": key})


async def off_by(serving: Serving) -> float:
    """Seconds by which a service's clock is off, as its answers say."""
    async with AsyncClient(base_url=serving.base) as client:
        return parsedate_to_datetime((await client.get("/livez")).headers["date"]).timestamp() - time()


async def written_twice(url: str, right: Serving, other: Serving, age: str) -> int:
    """How many books there are of one that was asked for, and so long after again, of another process under the same key."""
    async with AsyncClient(base_url=right.base, headers=bearer(ADMIN)) as client:
        book: dict[str, object] = {"title": uuid4().hex, "author_id": await author_of(client)}
    key = uuid4().hex
    first = await write(right, book, key)
    async with watching(url) as connection:
        await connection.execute(AGES, {"age": age})
        again = await write(other, book, key)
        assert {first.status_code, again.status_code} == {201}
        return int(await connection.scalar(ROWS, {"title": book["title"]}) or 0)


@pytest.mark.slow
@fault(
    "F14, keys and idempotency",
    done="one process has another clock than the database and the other process",
    holds="keys expire, and answers are kept for a day, by the database's clock",
    needs=FAKETIME,
)
@pytest.mark.parametrize("clock", ["+1h", "-1h", "+25h"])
async def test_clocks_that_are_off(clock: str, own_database: str, figures: Figures) -> None:
    living, expired = await keyed(own_database, LIVES), await keyed(own_database, EXPIRED)
    with served(own_database) as right, served(own_database, clock=clock) as other:
        off = await off_by(other)
        keys = await read(other, living), await read(other, expired)
        rows = await written_twice(own_database, right, other, FRESH), await written_twice(own_database, right, other, OLD)
    figures.tell(f"{off:,.0f} s off: a living key {keys[0]}, an expired one {keys[1]}")
    figures.tell(f"a write repeated after {FRESH} is there {rows[0]} time, after {OLD} {rows[1]} times")
    assert abs(off) > 3500
    assert keys == (200, 401)
    assert rows == (1, 2)
