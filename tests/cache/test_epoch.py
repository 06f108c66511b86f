"""The epoch: whatever goes wrong, what is kept is believed for a second more at the most."""

import pytest
from httpx import AsyncClient
from redis.asyncio import Redis
from sqlalchemy import NullPool, func, insert, make_url, select, text
from sqlalchemy.exc import DBAPIError, ProgrammingError
from sqlalchemy.ext.asyncio import create_async_engine
from structlog.testing import capture_logs

from service.app import create_app
from service.cache import epoch
from service.cache.caching import Cache
from service.cache.dropping import Dropping
from service.cache.epoch import Epoch, identity, layout
from service.cache.keys import Kept
from service.cache.pipe import Pipe
from service.db import Database
from service.db.drops import drops
from service.errors import Unavailable
from service.settings import Settings
from tests.cache.asking import created, how, keep
from tests.fixtures.application import client_of
from tests.fixtures.databases import administering, new_database, settings_of, template
from tests.fixtures.keys import let_in
from tests.fixtures.servers import Servers
from tests.waiting import until

ENDED = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
LONG_AGO = text("clock_timestamp() - interval '2 hours'")


class Silent:
    """Tells Redis nothing."""

    def __init__(self, cache: Cache) -> None:
        self.columns, self.tables = cache.dropping.columns, cache.dropping.tables

    async def forget(self, *_: object) -> None:
        """Be killed before."""


async def notes(database: Database) -> int:
    """How many there are."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(drops)) or 0)


async def test_a_write_that_redis_is_not_told_of_is_told_by_others(client: AsyncClient, cache: Cache, committed: Database) -> None:
    """As by a process that is killed before it could: the note stays, and is found."""
    path = f"/v1/authors/{await created(client, '/v1/authors', name='Old')}"
    await keep(client, path)
    committed.caches = Silent(cache)
    assert (await client.patch(path, json={"name": "New"})).status_code == 204

    async def new() -> bool:
        return bool((await client.get(path)).json()["name"] == "New")

    async def none() -> bool:
        return await notes(committed) == 0

    await until(new)
    await until(none)
    assert cache.epoch.overdue


@pytest.mark.parametrize("error", [Unavailable("It is away."), LookupError("It says something else.")], ids=repr)
async def test_an_epoch_ends_by_itself(
    client: AsyncClient, cache: Cache, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever the database says instead, which is told once; and another one begins when it says what was written."""
    path, looks = f"/v1/authors/{await created(client, '/v1/authors', name='Old')}", 0
    await keep(client, path)

    async def unreachable(*_: object) -> bool:
        nonlocal looks
        looks += 1
        raise error

    async def silent() -> bool:
        return await how(client, path) == "pass" and looks > 2

    with capture_logs() as logs:
        monkeypatch.setattr(Epoch, "_heard", unreachable)
        await until(silent)
    monkeypatch.undo()
    assert [line["why"] for line in logs if "believed" in line["event"]] == [str(getattr(error, "detail", error))]
    await keep(client, path)


async def test_what_was_flushed_is_never_believed_again(client: AsyncClient, cache: Cache, settings: Settings) -> None:
    path = f"/v1/authors/{await created(client, '/v1/authors', name='Old')}"
    await keep(client, path)
    assert settings.redis_url
    assert cache.epoch.names
    names = cache.epoch.names
    async with Redis.from_url(settings.redis_url.get_secret_value()) as there:
        was = await there.get(names.epoch)
        await there.delete(names.epoch)
        await until(lambda: there.get(names.epoch))
        assert await there.get(names.epoch) != was
    await keep(client, path)


async def test_another_run_of_redis_is_another_epoch(client: AsyncClient, cache: Cache, settings: Settings) -> None:
    assert settings.redis_url
    assert cache.epoch.names
    names = cache.epoch.names
    async with Redis.from_url(settings.redis_url.get_secret_value()) as there:
        was = await there.get(names.epoch)
        await there.set(names.run, "another")

        async def anew() -> bool:
            return bool(await there.get(names.epoch) != was)

        await until(anew)


async def test_processes_that_do_not_agree_keep_nothing(client: AsyncClient, cache: Cache, committed: Database) -> None:
    path = f"/v1/authors/{await created(client, '/v1/authors', name='Old')}"
    await keep(client, path)
    other = Epoch(cache.pipe, cache.dropping, {})

    async def silent() -> bool:
        await other.beat(committed)
        return await how(client, path) == "pass"

    await until(silent)
    await keep(client, path)  # the other one is gone


async def test_a_look_that_is_too_old_renews_nothing(cache: Cache, committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epoch, "LOOK_SECONDS", 0.0)
    names = cache.epoch.names
    assert names

    (was,) = await cache.pipe.fetch([names.epoch]) or [None]

    async def another() -> bool:
        found = await cache.pipe.fetch([names.epoch])
        return bool(found and found[0] and found[0] != was)

    assert was
    await until(another)


async def test_old_notes_are_taken_away_while_redis_is_away(committed: Database, cache: Cache) -> None:
    await cache.pipe.close()
    async with committed.writing() as unit:
        await unit.session.execute(insert(drops).values(id=1, of="books", noted_at=LONG_AGO))
        await unit.session.execute(insert(drops).values(id=2, of="books"))

    async def one() -> bool:
        return await notes(committed) == 1

    await until(one)


async def test_old_notes_are_taken_away_where_the_database_does_not_say_which_one_it_is(
    committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the role may not read what tells it from others."""
    monkeypatch.setattr(epoch, "IDENTITY", text("SELECT nothing_that_there_is()"))
    pipe = Pipe("unix:///nowhere/redis.sock", 0.05)
    async with committed.writing() as unit:
        await unit.session.execute(insert(drops).values(id=1, of="books", noted_at=LONG_AGO))
        await unit.session.execute(insert(drops).values(id=2, of="books"))
    with pytest.raises(ProgrammingError):
        await Epoch(pipe, Dropping(pipe, {}), {}).beat(committed)
    assert await notes(committed) == 1


async def test_a_database_has_one_name(committed: Database, empty_database: str, settings: Settings) -> None:
    other = Database.connect(empty_database, settings)
    assert await identity(committed) == await identity(committed)
    assert await identity(committed) != await identity(other)
    await other.close()


async def test_schemas_of_one_database_have_names_of_their_own(committed: Database, own_database: str, settings: Settings) -> None:
    """Each has notes of its own; whoever shares the notes shares the names, by whatever path they are found."""
    found = dict[str, str]()
    for path in ("public", "other", "other, public", "elsewhere, public"):
        engine = create_async_engine(own_database, connect_args={"server_settings": {"search_path": path}}, poolclass=NullPool)
        async with engine.begin() as connection:
            await connection.execute(text("CREATE SCHEMA IF NOT EXISTS other"))
            await connection.execute(text("CREATE TABLE IF NOT EXISTS other.shelfmark_drops ()"))
            found[path] = str(await connection.scalar(epoch.IDENTITY))
        await engine.dispose()
    assert found["public"] == found["elsewhere, public"] != found["other"] == found["other, public"]


async def test_a_database_that_another_one_takes_the_place_of(servers: Servers, settings: Settings) -> None:
    """A process that goes on, as behind a pooler that is led elsewhere, has its names from the one that is there now."""
    made = await template(servers)
    async with new_database(servers, made) as was, new_database(servers, made) as restored:
        cached = {"redis_url": settings.redis_url, "cache": True, "cache_timeout_ms": 1000}
        database = Database.connect(was, settings_of(was, **cached))
        app = create_app(settings_of(was, **cached), database)
        await let_in(was)
        await let_in(restored)
        async with app.router.lifespan_context(app), client_of(app) as client:
            author = await created(client, "/v1/authors", name="Only in the old one")
            await keep(client, f"/v1/authors/{author}")
            before = app.state.service.cache.epoch.names
            await _swapped(servers, was, restored)
            await until(lambda: app.state.service.cache.epoch.names not in {None, before})
            assert app.state.service.cache.epoch.names.prefix != before.prefix
            assert app.state.service.cache.dropping.names is app.state.service.cache.epoch.names
            await keep(client, "/v1/authors")
            assert (await client.get(f"/v1/authors/{author}")).status_code == 404
        await database.close()


async def _swapped(servers: Servers, *urls: str) -> None:
    """Give one database the other's name."""
    one, other = (str(make_url(url).database) for url in urls)
    async with administering(servers) as admin:
        for name, new in ((one, f"{one}_was"), (other, one), (f"{one}_was", other)):

            async def renamed(name: str = name, new: str = new) -> bool:
                await admin.execute(ENDED, {"name": name})
                try:
                    await admin.execute(text(f"ALTER DATABASE {name} RENAME TO {new}"))
                except DBAPIError:  # somebody came between
                    return False
                return True

            await until(renamed)


def test_a_layout_is_of_scopes_alone() -> None:
    one = Kept("books", "id", 60, (("id",), ("author_id",)), ("id", "author_id"))
    same = Kept("books", "id", 30, (("author_id",), ("id",)), ("author_id", "id"))
    other = Kept("books", "id", 60, (("id",),), ("id",))
    assert layout({"books": one}) == layout({"books": same}) != layout({"books": other})
