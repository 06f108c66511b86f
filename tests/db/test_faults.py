"""What goes wrong with the database, made to happen for real, is answered with a problem that shows nothing of it."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
from httpx import Response
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError

from service.app import create_app
from service.db import Database
from service.db.faults import names_of, problem
from service.errors import Problem, StorageFull, TimedOut, Unavailable, ValueRefused
from service.settings import Settings
from service.tables.authors import Author
from tests.factories.authors import AuthorFactory
from tests.fixtures.application import client_of

Connected = Callable[..., AbstractAsyncContextManager[Database]]
SLEEP = text("SELECT pg_sleep(60)")


@pytest.fixture
def connected(database_url: str, settings: Settings) -> Connected:
    """A database with settings of its own, and perhaps another URL."""

    @asynccontextmanager
    async def connect(url: str = database_url, **changed: Any) -> AsyncIterator[Database]:
        database = Database.connect(url, settings.model_copy(update=changed))
        yield database
        await database.close()

    return connect


@pytest.fixture
def nobody() -> str:
    """The URL of a port that nobody listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(make_url("postgresql+asyncpg://u@127.0.0.1/x").set(port=free.getsockname()[1]))


async def got(settings: Settings, database: Database, path: str = "/v1/authors") -> Response:
    """What a client is answered."""
    async with client_of(create_app(settings, database)) as client:
        return await client.get(path)


def told(answer: Response, slug: str) -> None:
    """The answer is this 503, says when to come again, and shows nothing of what is inside."""
    assert (answer.status_code, answer.json()["type"]) == (503, f"/problems/{slug}")
    assert answer.headers["retry-after"] == "1"
    assert not [word for word in ("select", "authors", "asyncpg", "127.0.0.1", "sqlalche") if word in answer.text.lower()]


async def test_a_database_that_is_away(settings: Settings, connected: Connected, nobody: str) -> None:
    async with connected(nobody) as database:
        told(await got(settings, database), "unavailable")


async def test_a_socket_that_isnt_there(settings: Settings, connected: Connected) -> None:
    async with connected("postgresql+asyncpg://u@/x?host=/nowhere") as database:
        told(await got(settings, database), "unavailable")


async def test_a_pool_without_a_free_connection(settings: Settings, connected: Connected) -> None:
    async with connected(read_pool_size=1, pool_wait_seconds=0.01) as database, database.reading():
        answer = await asyncio.create_task(got(settings, database))
        told(answer, "overloaded")


async def test_a_statement_that_takes_too_long(connected: Connected) -> None:
    async with connected(read_timeout_ms=20) as database:
        with pytest.raises(TimedOut):
            async with database.reading() as session:
                await session.execute(SLEEP)


async def test_a_lock_that_somebody_holds(settings: Settings, connected: Connected, committed: Database) -> None:
    author = await AuthorFactory.create()
    async with connected(lock_timeout_ms=20) as database, committed.writing() as unit:
        await unit.session.execute(text("SELECT * FROM authors FOR UPDATE"))
        async with client_of(create_app(settings, database)) as client:
            told(await client.patch(f"/v1/authors/{author.id}", json={"name": "x"}), "timed-out")


async def read_through_a_termination(database: Database, other: Database) -> None:
    """Read by a connection that another one ends meanwhile."""
    async with database.reading() as session:
        pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with other.writing() as unit:
            await unit.session.execute(text("SELECT pg_terminate_backend(:pid, 2000)"), {"pid": pid})
        await session.execute(text("SELECT 1"))


async def test_a_backend_that_is_terminated(connected: Connected, committed: Database) -> None:
    async with connected() as database:
        with pytest.raises(Unavailable):
            await read_through_a_termination(database, committed)
        async with database.reading() as session:
            assert await session.scalar(text("SELECT 1")) == 1


async def test_a_backend_that_died_idle_is_answered(settings: Settings, connected: Connected, committed: Database) -> None:
    async with connected() as database:
        async with database.reading() as session:
            pid = await session.scalar(text("SELECT pg_backend_pid()"))
        async with committed.writing() as unit:
            await unit.session.execute(text("SELECT pg_terminate_backend(:pid, 2000)"), {"pid": pid})
        first = await got(settings, database)
        assert first.status_code in {200, 503}
        assert (await got(settings, database)).status_code == 200


async def test_a_deadlock(committed: Database) -> None:
    authors = await AuthorFactory.create_batch(2)
    meeting = asyncio.Barrier(2)

    async def change(first: Author, second: Author) -> None:
        async with committed.writing() as unit:
            lock = text("UPDATE authors SET name = name || 'x' WHERE id = :id")
            await unit.session.execute(lock, {"id": first.id})
            await meeting.wait()
            await unit.session.execute(lock, {"id": second.id})

    ended = await asyncio.gather(change(*authors), change(*reversed(authors)), return_exceptions=True)
    assert [type(one) for one in ended if one] == [TimedOut]


class DriverError(Exception):
    """A driver's error of some state, for the states that no test can bring about."""

    def __init__(self, sqlstate: str, message: str = "") -> None:
        super().__init__(message)
        self.sqlstate = sqlstate


STATES = [
    ("53100", StorageFull),
    ("53300", Unavailable),
    ("53200", Unavailable),
    ("57P01", Unavailable),
    ("57P03", Unavailable),
    ("08006", Unavailable),
    ("40001", TimedOut),
    ("25P03", TimedOut),
    ("22003", ValueRefused),
    ("54000", ValueRefused),
    ("42P01", Unavailable),
    ("42703", Unavailable),
]


@pytest.mark.parametrize(("state", "kind"), STATES)
def test_a_state_is_told_by_its_problem(state: str, kind: type[Problem]) -> None:
    assert type(problem(DBAPIError("SELECT 1", {}, DriverError(state)))) is kind


@pytest.mark.parametrize("state", ["42601", "XX000", ""])
def test_a_mistake_of_the_service_is_no_problem_of_the_clients(state: str) -> None:
    assert problem(DBAPIError("SELECT 1", {}, DriverError(state))) is None


def test_a_driver_that_lost_its_connection_without_a_state() -> None:
    assert type(problem(DBAPIError("SELECT 1", {}, DriverError("", "connection is closed")))) is Unavailable


@pytest.mark.parametrize(
    ("constraint", "names"),
    [
        ("uq_authors_name", ["name"]),
        ("pk_authors", ["id"]),
        ("no_such", []),
    ],
)
def test_a_constraint_is_told_by_the_names_of_its_keys(constraint: str, names: list[str]) -> None:
    assert names_of("authors", constraint) == names


def test_a_table_that_nobody_serves_has_no_names() -> None:
    assert names_of("pg_class", "pk") == []
