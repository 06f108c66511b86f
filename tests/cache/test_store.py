"""Reading through: one query for all who miss; what a write has overtaken isn't kept."""

import asyncio
from collections import Counter

import pytest
from httpx import AsyncClient

from service.cache import store
from service.cache.caching import Cache
from service.cache.entries import Held, mark
from service.cache.store import Place
from service.db import Database
from tests.cache.asking import created
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("unhurried")


@pytest.fixture
def place(cache: Cache) -> Place:
    """A place where nothing is."""
    assert cache.epoch.names
    return Place(b"test:" + mark(), (cache.epoch.names.epoch, b"test:" + mark()), 60)


async def test_a_thousand_misses_are_one_query(cache: Cache, place: Place) -> None:
    read = 0

    async def load() -> Held:
        nonlocal read
        read += 1
        await asyncio.sleep(0)
        return Held(b"once")

    found = await asyncio.gather(*(cache.store.read(place, load) for _ in range(1000)))
    assert {held.body for held, _ in found} == {b"once"}
    assert read == 1
    assert cache.store.counts.joined == 999


async def test_misses_of_a_service_are_one_query(client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    author = await created(client, "/v1/authors", name="Ursula")
    await created(client, "/v1/books", title="T", author_id=author)
    sent, fetch = Counter[str](), Database.fetch

    async def counted(database: Database, sql: str, *others: object) -> list[object]:
        sent[sql] += 1
        return await fetch(database, sql, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(Database, "fetch", counted)
    for path in (f"/v1/authors/{author}", f"/v1/books?author_id={author}"):
        sent.clear()
        answers = await asyncio.gather(*(client.get(path) for _ in range(50)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert sum(sent.values()) == 1


async def test_what_a_write_has_overtaken_is_answered_and_not_kept(cache: Cache, place: Place) -> None:
    async def load() -> Held:
        await cache.dropping.drop([place.marks[1]])
        return Held(b"old")

    held, found = await cache.store.read(place, load)
    assert (held.body, found) == (b"old", "miss")
    await until(lambda: cache.store.counts.refused)
    assert cache.store.counts.fills == 0


async def test_a_mark_that_is_gone_refuses_too(cache: Cache, place: Place) -> None:
    async def load() -> Held:
        await cache.pipe.ask((b"DEL", place.marks[1]))
        await cache.pipe.ask((b"SET", place.marks[1], mark(), b"PX", b"1000"))
        return Held(b"old")

    await cache.store.read(place, load)
    await until(lambda: cache.store.counts.refused)


async def test_who_comes_after_a_write_does_not_wait_for_who_came_before(cache: Cache, place: Place) -> None:
    go = asyncio.Event()

    async def old() -> Held:
        await go.wait()
        return Held(b"old")

    async def new() -> Held:
        return Held(b"new")

    first = asyncio.ensure_future(cache.store.read(place, old))
    await until(lambda: cache.store.counts.misses)
    await cache.dropping.drop([place.marks[1]])
    assert (await cache.store.read(place, new))[0].body == b"new"
    go.set()
    assert (await first)[0].body == b"old"


async def test_what_is_too_large_is_not_kept(cache: Cache, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "BYTES_MOST", 10)

    async def load() -> Held:
        return Held(b"x" * 11)

    for _ in range(3):
        assert (await cache.store.read(place, load))[1] == "miss"
    assert cache.store.counts.fills == 0


async def test_it_is_forgotten_by_itself(cache: Cache, place: Place) -> None:
    async def load() -> Held:
        return Held(b"x")

    await cache.store.read(place, load)
    await until(lambda: cache.store.counts.fills)
    found = await cache.pipe.ask((b"PTTL", place.entry))
    assert found
    assert 40_000 < found[0] <= 60_000
