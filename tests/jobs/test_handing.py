"""Handing out: a claim, then a message that is no more than a bell; Redis away, shared, or full of what isn't ours."""

import ast
import pickle
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest
from arq.connections import ArqRedis
from redis.exceptions import RedisError, ResponseError
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.db import Database
from service.jobs import handing, transitions
from service.jobs.handing import Handing, forget, packed, queue, redis_settings, ring, unpacked
from service.jobs.job import enqueue
from service.jobs.slots import workers
from tests.fixtures.servers import Servers
from tests.jobs.errands import row, write

SERVICE = Path(handing.__file__).parents[1]
TAKES_A_SERIALIZER = {"ArqRedis", "create_pool", "Worker", "create_worker", "run_worker", "Job"}
"""What of arq's pickles unless it is told otherwise."""


@pytest.fixture
async def redis(servers: Servers) -> AsyncIterator[ArqRedis]:
    """A queue of this test's own."""
    made = queue(servers.redis, f"test:{uuid4()}")
    yield made
    async for key in made.scan_iter(match=f"*{made.default_queue_name}*"):
        await made.delete(key)
    await made.aclose(close_connection_pool=True)


@pytest.fixture
async def connection(committed: Database, importing_engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """The relay's."""
    async with committed.writing() as unit:
        await unit.session.execute(insert(workers), {"id": "one", "slots": 2})
    async with importing_engine.connect() as made:
        yield made


async def asked(database: Database, times: int = 1) -> list[int]:
    """So many jobs."""
    async with database.writing():
        return [await enqueue(write, names=[]) for _ in range(times)]


async def queued(redis: ArqRedis) -> list[tuple[str, tuple[Any, ...]]]:
    """The messages of the queue, as arq reads them: function and arguments."""
    return [(one.function, tuple(one.args)) for one in await redis.queued_jobs()]


async def test_what_is_due_is_rung_for_in_the_order_of_jobs(
    committed: Database, connection: AsyncConnection, redis: ArqRedis
) -> None:
    ids = await asked(committed, 3)
    chore = Handing(lambda: redis)
    assert not await chore.step(connection)
    assert not await chore.step(connection)
    names = [name.decode() for name in await redis.zrange(redis.default_queue_name, 0, -1)]
    assert names == [f"{redis.default_queue_name}:{id_}:1" for id_ in ids]
    assert sorted(await queued(redis)) == [("perform", (id_, 1)) for id_ in ids]
    assert 0 < await redis.pttl(f"arq:job:{names[0]}") <= 1000 * handing.EXPIRES.total_seconds()
    await chore.told([])  # it needs to know no more than that there is something


async def test_queues_of_several_databases_in_one_redis_do_not_meet(redis: ArqRedis, servers: Servers) -> None:
    """Jobs of different databases have the same numbers."""
    other = queue(servers.redis, f"{redis.default_queue_name}:other")
    for one in (redis, other):
        await ring(one, (7, 1))
    assert await queued(redis) == await queued(other) == [("perform", (7, 1))]
    await forget(redis, f"{redis.default_queue_name}:7:1")
    assert (await queued(redis), await queued(other)) == ([], [("perform", (7, 1))])
    await other.aclose(close_connection_pool=True)


async def test_without_redis_no_claim_grows(committed: Database, connection: AsyncConnection, logged: list[Any]) -> None:
    (id_,) = await asked(committed)
    chore = Handing(lambda: queue("redis://127.0.0.1:1/0", "away"))
    for _ in range(3):
        assert not await chore.step(connection)
    assert (await row(committed, id_)).claim == 0
    assert sum("Redis can't be reached" in line["event"] for line in logged) == 1
    await chore.aclose()


@pytest.mark.parametrize("error", [RedisError("gone"), ResponseError("OOM command not allowed"), OSError(), TimeoutError()])
async def test_what_cannot_be_rung_for_is_taken_back(
    committed: Database, connection: AsyncConnection, redis: ArqRedis, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, second, third = await asked(committed, 3)

    async def fails(given: ArqRedis, claim: transitions.Claim) -> None:
        if claim[0] == second:
            raise error
        await ring(given, claim)

    with monkeypatch.context() as patch:
        patch.setattr(handing, "ring", fails)
        assert not await Handing(lambda: redis).step(connection)
    assert await queued(redis) == [("perform", (first, 1))]
    assert [(await row(committed, id_)).handed for id_ in (first, second, third)] == [True, False, False]
    await Handing(lambda: redis).step(connection)
    assert sorted(await queued(redis)) == [("perform", (first, 1)), ("perform", (second, 2)), ("perform", (third, 2))]


def test_messages_are_msgpack() -> None:
    assert unpacked(packed({"f": "perform", "a": (7, 1), "t": None})) == {"f": "perform", "a": [7, 1], "t": None}
    assert unpacked(packed(ValueError("x"))) == "ValueError('x')"
    with pytest.raises(msgspec.DecodeError):
        unpacked(pickle.dumps({"f": "perform", "a": (7, 1)}))


def test_arq_is_never_used_with_what_it_serializes_with_by_itself() -> None:
    """Each call that takes a serializer is given ours, itself or among what it is handed as a whole."""
    found = [call for path in SERVICE.rglob("*.py") for call in calls_of_arq(ast.parse(path.read_text()))]
    assert found
    for call in found:
        given = {ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg is None}
        assert given & {"SERIALIZING", "self.listening()"}, ast.unparse(call)


def calls_of_arq(tree: ast.Module) -> list[ast.Call]:
    """The calls of a source by which arq could be begun."""
    imported = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "arq"
        for alias in node.names
        if alias.name in TAKES_A_SERIALIZER
    }
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return [call for call in calls if ast.unparse(call.func) in imported]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://localhost", ("localhost", 6379, 0, None, None, None, False)),
        ("redis://h:7/", ("h", 7, 0, None, None, None, False)),
        ("rediss://me:p%40ss@h:7/3", ("h", 7, 3, "me", "p@ss", None, True)),
        ("unix:///run/redis.sock?db=2", ("localhost", 6379, 2, None, None, "/run/redis.sock", False)),
        ("unix://me:pw@/run/redis.sock", ("localhost", 6379, 0, "me", "pw", "/run/redis.sock", False)),
    ],
)
def test_a_url_is_told_to_arqs_command_as_it_is_meant(url: str, expected: tuple[Any, ...]) -> None:
    told = redis_settings(url)
    found = (told.host, told.port, told.database, told.username, told.password, told.unix_socket_path, told.ssl)
    assert found == expected
