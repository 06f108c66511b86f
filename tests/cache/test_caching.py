"""Answers through the cache: what is kept, and that it is the same as what isn't."""

from contextlib import AsyncExitStack

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.app import create_app
from service.cache.caching import Cache
from service.db import Database
from service.settings import Settings, load
from tests.cache.asking import created, how, keep
from tests.fixtures.application import client_of
from tests.fixtures.databases import settings_of
from tests.fixtures.keys import SECRET

pytestmark = pytest.mark.usefixtures("unhurried")


async def test_a_row_is_kept_until_it_is_written(client: AsyncClient) -> None:
    author = await created(client, "/v1/authors", name="Ursula")
    path = f"/v1/authors/{author}"
    await keep(client, path)
    assert (await client.get(path)).json()["name"] == "Ursula"
    assert (await client.patch(path, json={"name": "Ursula K."})).status_code == 204
    first = await client.get(path)
    assert first.headers["x-cache"] == "miss"
    await keep(client, path)
    assert first.content == (await client.get(path)).content
    assert first.json()["name"] == "Ursula K."


async def test_a_page_is_kept_with_its_cursor_and_its_link(client: AsyncClient) -> None:
    author = await created(client, "/v1/authors", name="Ursula")
    for year in range(1960, 1965):
        await created(client, "/v1/books", title=f"{year}", author_id=author, published_year=year)
    seen, path = [], f"/v1/books?author_id={author}&limit=2"
    while path:
        first = await client.get(path)
        await keep(client, path)
        kept = await client.get(path)
        assert (kept.content, kept.headers.get("link")) == (first.content, first.headers.get("link"))
        assert kept.headers["age"].isdigit()
        seen += [row["published_year"] for row in kept.json()["data"]]
        path = kept.links["next"]["url"] if "next" in kept.links else ""
    assert seen == [1964, 1963, 1962, 1961, 1960]


async def test_what_another_secret_has_signed_is_left_to_those_who_have_it(settings: Settings, own_database: str) -> None:
    """While secrets are changed, process after process: one that has the new one signs by it, which others may not know."""
    cached = {"redis_url": settings.redis_url, "cache": True, "cache_timeout_ms": 1000, "public_read": ("authors", "books")}
    async with AsyncExitStack() as stack:
        client = await _calling(stack, settings_of(own_database, **cached))
        others = await _calling(stack, settings_of(own_database, **cached, secrets=f"{'n' * 64},{SECRET}"))
        author = await created(client, "/v1/authors", name="Ursula")
        for year in range(1960, 1965):
            await created(client, "/v1/books", title=f"{year}", author_id=author, published_year=year)
        page, row = f"/v1/books?author_id={author}&limit=2", f"/v1/authors/{author}"
        others.headers.pop("authorization")  # its key would be signed anew
        await keep(others, page, row)
        found = await client.get(page)
        assert (await client.get(found.links["next"]["url"])).status_code == 200
        etag = (await client.get(row)).headers["etag"]
        assert (await client.patch(row, json={"name": "U"}, headers={"if-match": etag})).status_code == 204
        assert (await others.get(row)).json()["name"] == "U"


async def _calling(stack: AsyncExitStack, settings: Settings) -> AsyncClient:
    database = Database.connect(str(settings.database_url and settings.database_url.get_secret_value()), settings)
    stack.push_async_callback(database.close)
    app = create_app(settings, database)
    await stack.enter_async_context(app.router.lifespan_context(app))
    return await stack.enter_async_context(client_of(app))


async def test_pages_after_the_same_row_lead_on_in_their_own_questions(client: AsyncClient) -> None:
    """A later page's statement leaves out the end of the range that it is past; its next cursor is bound to that, too."""
    author = await created(client, "/v1/authors", name="Ursula")
    for year in range(1960, 1968):
        await created(client, "/v1/books", title=f"{year}", author_id=author, published_year=year)
    first = f"/v1/books?author_id={author}&limit=2&published_year__lte="
    walks, seen = {most: f"{first}{most}" for most in (2026, 2030)}, dict[int, list[int]]()
    while walks:
        for most, path in list(walks.items()):
            await keep(client, path)
            page = await client.get(path)
            seen[most] = seen.get(most, []) + [row["published_year"] for row in page.json()["data"]]
            walks[most] = page.links.get("next", {}).get("url", "")
        walks = {most: path for most, path in walks.items() if path}
    assert list(seen.values()) == [list(range(1967, 1959, -1))] * 2


async def test_a_count_is_kept_with_its_page_until_a_row_comes_or_goes(client: AsyncClient) -> None:
    author, other = [await created(client, "/v1/authors", name=name) for name in ("Ursula", "Octavia")]
    books = [await created(client, "/v1/books", title="Old", author_id=author) for _ in range(3)]
    path, others = f"/v1/books?author_id={author}&limit=2&count=capped", f"/v1/books?author_id={other}&count=capped"
    first = await client.get(path)
    await keep(client, path, others)
    second = await client.get(path)
    assert (second.content, second.links, second.headers["etag"]) == (first.content, first.links, first.headers["etag"])
    assert second.json()["count"] == {"value": 3, "exact": True}
    last = second.links["next"]["url"]
    await keep(client, last)
    assert len((await client.get(last)).json()["data"]) == 1
    assert (await client.delete(f"/v1/books/{books[0]}")).status_code == 204
    assert await how(client, others) == "hit"
    third = await client.get(path)
    assert (third.headers["x-cache"], third.json()["count"]["value"]) == ("miss", 2)
    assert await how(client, last) == "miss"


async def test_a_page_with_another_count_is_another_page(client: AsyncClient) -> None:
    path = f"/v1/books?author_id={await created(client, '/v1/authors', name='Ursula')}"
    await keep(client, path, f"{path}&count=capped")
    assert "count" not in (await client.get(path)).json()
    assert await how(client, f"{path}&count=estimated") == "miss"
    assert await how(client, f"{path}&count=capped&limit=3") == "miss"
    assert await how(client, f"{path}&count=capped&fields=id") == "miss"
    assert await how(client, f"{path}&count=capped&include=author") == ""
    await keep(client, f"{path}&count=estimated")


async def test_who_has_a_counted_page_is_told_so_out_of_the_cache(client: AsyncClient) -> None:
    path = f"/v1/books?author_id={await created(client, '/v1/authors', name='Ursula')}&count=capped"
    await keep(client, path)
    tag = (await client.get(path)).headers["etag"]
    assert (await client.get(path, headers={"If-None-Match": tag})).status_code == 304


async def test_one_question_however_it_is_spelled(client: AsyncClient) -> None:
    author = await created(client, "/v1/authors", name="Ursula")
    await keep(client, f"/v1/books?author_id={author}&limit=2")
    assert await how(client, f"/v1/books?limit=2&author_id={author}") == "hit"
    assert await how(client, f"/v1/books?limit=3&author_id={author}") == "miss"
    assert await how(client, f"/v1/books?author_id={author}&limit=2&fields=id") == "miss"


async def test_that_there_is_no_row_is_kept_until_there_is_one(client: AsyncClient, cache: Cache) -> None:
    path = f"/v1/authors/{await created(client, '/v1/authors', name='Ursula') + 1}"
    for _ in range(20):
        assert (await client.get(path)).status_code == 404
    assert cache.store.counts.hits
    await created(client, "/v1/authors", name="Octavia")
    assert (await client.get(path)).json()["name"] == "Octavia"


async def test_tables_that_say_nothing_are_not_kept(client: AsyncClient) -> None:
    assert await how(client, "/v1/members") == ""


async def test_nothing_is_kept_without_redis(settings: Settings, committed: Database) -> None:
    url = load(_env_file=None, redis_url="unix:///nowhere/redis.sock").redis_url
    app = create_app(settings.model_copy(update={"cache": True, "redis_url": url}), committed)
    async with app.router.lifespan_context(app), client_of(app) as client:
        author = await created(client, "/v1/authors", name="Ursula")
        path = f"/v1/authors/{author}"
        assert await how(client, path) == await how(client, path) == "pass"
        assert (await client.patch(path, json={"name": "Ursula K."})).status_code == 204
        assert (await client.get(path)).json()["name"] == "Ursula K."


@pytest.mark.parametrize(("cursors", "kept"), [(86_400, 60), (240, 10), (60, 2)])
async def test_nothing_is_kept_until_its_cursor_ends(settings: Settings, committed: Database, cursors: int, kept: int) -> None:
    app = create_app(settings.model_copy(update={"cache": True, "cursor_seconds": cursors}), committed)
    assert {one.seconds for one in app.state.service.cache.tables.values()} == {kept}


async def test_it_can_be_turned_off(settings: Settings, committed: Database) -> None:
    app: FastAPI = create_app(settings, committed)
    assert app.state.service.cache is None
    assert committed.caches is None
