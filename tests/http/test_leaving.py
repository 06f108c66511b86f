"""Deadlines, clients that leave, and refusals where more is asked than can be done."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db import Database
from service.db.deadline import DEADLINE, left, stand_firm, until
from service.db.gate import Gate
from service.errors import Overloaded, TimedOut
from service.http.lagging import LATE_TICKS
from service.http.leaving import NEVER, TICK_SECONDS, Leaving, Watch
from tests.waiting import LATE_SECONDS
from tests.waiting import until as happened

LONG = 60.0
GET: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/books", "state": {}}
POST: dict[str, Any] = GET | {"method": "POST"}
START: Message = {"type": "http.response.start", "status": 200, "headers": []}
END: Message = {"type": "http.response.body", "body": b"end"}
GONE: Message = {"type": "http.disconnect"}
SLEEP = text("SELECT pg_sleep(60)")


def part(body: bytes, *, more: bool) -> Message:
    """A part of a request's body."""
    return {"type": "http.request", "body": body, "more_body": more}


@dataclass
class Client:
    """Whoever asks: what it has sent so far, what it was sent, and how often somebody listened to it."""

    says: asyncio.Queue[Message] = field(default_factory=asyncio.Queue)
    heard: list[Message] = field(default_factory=list)
    asked: int = 0

    async def receive(self) -> Message:
        """What it says next."""
        self.asked += 1
        return await self.says.get()

    async def send(self, message: Message) -> None:
        """Hear a part of the answer."""
        self.heard.append(message)


@dataclass
class Door:
    """A layer with its gates, and what is inside."""

    seconds: float = LONG
    lag_seconds: float = LONG
    reads: Gate = field(default_factory=lambda: Gate(1, patience_seconds=LONG, queue_most=0))
    writes: Gate = field(default_factory=lambda: Gate(1, patience_seconds=LONG, queue_most=0))

    def around(self, app: ASGIApp) -> Leaving:
        """The layer around an application."""
        return Leaving(app, self.seconds, self.reads, self.writes, Watch(self.lag_seconds))


async def answering(_: Scope, __: Receive, send: Send) -> None:
    """Answer at once."""
    await send(START)
    await send(END)


async def never(_: Scope, __: Receive, ___: Send) -> None:
    """Answer never."""
    await asyncio.Event().wait()


async def called(layer: Leaving, client: Client, scope: dict[str, Any] = GET) -> None:
    """Call it in a task of its own, as a server does."""
    await asyncio.create_task(_call(layer, client, scope))


async def _call(layer: Leaving, client: Client, scope: dict[str, Any]) -> None:
    await layer(dict(scope), client.receive, client.send)


async def test_nobody_looks_at_a_request_that_is_answered_at_once() -> None:
    layer, client = Door().around(answering), Client()
    await called(layer, client)
    assert client.heard == [START, END]
    assert client.asked == 0
    assert not layer.watch.flights
    await happened(lambda: layer.watch.again == 0)


async def test_a_client_that_leaves_stops_its_request() -> None:
    layer, client = Door().around(never), Client()
    client.says.put_nowait(part(b"", more=False))
    request = asyncio.create_task(called(layer, client))
    await asyncio.sleep(2 * TICK_SECONDS)
    assert not request.done()
    client.says.put_nowait(GONE)
    await request
    assert client.heard == []
    assert layer.watch.left == 1


async def test_a_deadline_stops_a_request() -> None:
    layer, client = Door(seconds=0.1).around(never), Client()
    began = time.monotonic()
    with pytest.raises(TimedOut):
        await called(layer, client)
    assert 0.1 <= time.monotonic() - began < LATE_SECONDS
    assert (layer.watch.late, layer.watch.left) == (1, 0)


async def test_an_answer_that_goes_on_is_not_late_and_costs_no_look() -> None:
    """A stream of hours: once it has begun, only its client ends it."""

    async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await never(scope, receive, send)

    layer, client = Door(seconds=TICK_SECONDS).around(streaming), Client()
    client.says.put_nowait(part(b"", more=False))
    request = asyncio.create_task(called(layer, client))
    await happened(lambda: [flight.since for flight in layer.watch.flights] == [NEVER])
    assert not request.done()
    client.says.put_nowait(GONE)
    await request
    assert (layer.watch.late, layer.watch.left) == (0, 1)
    assert not layer.watch.flights


async def test_the_cancellation_is_taken_back() -> None:
    layer = Door(seconds=0.05).around(never)
    with pytest.raises(TimedOut):
        await layer(dict(GET), Client().receive, Client().send)
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0
    assert DEADLINE.get() is None


async def test_one_that_was_swallowed_is_taken_back_too() -> None:
    async def stubborn(scope: Scope, receive: Receive, send: Send) -> None:
        with suppress(asyncio.CancelledError):
            await never(scope, receive, send)
        await answering(scope, receive, send)

    layer, client = Door(seconds=0.05).around(stubborn), Client()
    await layer(dict(GET), client.receive, client.send)
    assert client.heard == [START, END]
    task = asyncio.current_task()
    assert task
    assert task.cancelling() == 0


async def test_somebody_elses_cancellation_is_theirs() -> None:
    layer = Door().around(never)
    request = asyncio.create_task(_call(layer, Client(), GET))
    await asyncio.sleep(2 * TICK_SECONDS)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert (layer.watch.late, layer.watch.left) == (0, 0)


@pytest.mark.parametrize("pause", [0.0, 3 * TICK_SECONDS])
async def test_the_body_reaches_whoever_asks_for_it(pause: float) -> None:
    read: list[Message] = []

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await asyncio.sleep(pause)
            read.append(await receive())
        await answering(scope, receive, send)

    sent = [part(b"a", more=True), part(b"b", more=True), part(b"c", more=False)]
    layer, client = Door().around(reading), Client()
    for message in sent:
        client.says.put_nowait(message)
    await called(layer, client, POST)
    assert read == sent
    assert client.heard == [START, END]


async def test_a_body_that_comes_slowly_is_read_by_whoever_waits_for_it() -> None:
    read: list[Message] = []

    async def reading(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(3 * TICK_SECONDS)
        while not read or read[-1]["more_body"]:
            read.append(await receive())
        await answering(scope, receive, send)

    layer, client = Door().around(reading), Client()
    request = asyncio.create_task(called(layer, client, POST))
    for body in (b"a", b"b"):
        await asyncio.sleep(4 * TICK_SECONDS)
        client.says.put_nowait(part(body, more=body == b"a"))
    await request
    assert [message["body"] for message in read] == [b"a", b"b"]


async def test_no_more_of_a_body_is_read_than_somebody_asked_for() -> None:
    layer, client = Door(seconds=0.2).around(never), Client()
    for _ in range(5):
        client.says.put_nowait(part(b"a", more=True))
    with pytest.raises(TimedOut):
        await called(layer, client, POST)
    assert client.says.qsize() == 4


async def test_an_answer_that_has_begun_has_no_deadline() -> None:
    async def telling(_: Scope, __: Receive, send: Send) -> None:
        await send(START)
        await asyncio.sleep(0.15)
        await send(END)

    layer, client = Door(seconds=0.05).around(telling), Client()
    await called(layer, client)
    assert client.heard == [START, END]


async def test_a_client_that_leaves_stops_an_answer_that_has_begun() -> None:
    async def telling(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await never(scope, receive, send)

    layer, client = Door().around(telling), Client()
    client.says.put_nowait(GONE)
    await called(layer, client)
    assert client.heard == [START]
    assert layer.watch.left == 1


async def test_what_follows_an_answer_is_not_stopped() -> None:
    async def going_on(scope: Scope, receive: Receive, send: Send) -> None:
        await answering(scope, receive, send)
        await asyncio.sleep(5 * TICK_SECONDS)
        done.append(True)

    done: list[bool] = []
    layer, client = Door().around(going_on), Client()
    client.says.put_nowait(GONE)  # a server says so once the answer is out
    await called(layer, client)
    assert done
    assert layer.watch.left == 0


@pytest.mark.parametrize("leaves", [True, False])
async def test_what_is_being_committed_runs_to_its_end(*, leaves: bool) -> None:
    async def committing(scope: Scope, receive: Receive, send: Send) -> None:
        stand_firm()
        await asyncio.sleep(0.15)
        await answering(scope, receive, send)

    layer, client = Door(seconds=LONG if leaves else 0.05).around(committing), Client()
    if leaves:
        client.says.put_nowait(GONE)
    await called(layer, client)
    assert client.heard == [START, END]


async def test_a_client_that_leaves_during_a_commit_is_noticed_in_vain() -> None:
    async def committing(scope: Scope, receive: Receive, send: Send) -> None:
        await happened(lambda: client.asked)
        stand_firm()
        client.says.put_nowait(GONE)
        await asyncio.sleep(3 * TICK_SECONDS)
        await answering(scope, receive, send)

    layer, client = Door().around(committing), Client()
    await called(layer, client)
    assert client.heard == [START, END]
    assert layer.watch.left == 0


async def test_the_deadline_is_known_inside() -> None:
    async def looking(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([until() or 0.0, left(1.0), left(100.0)])
        await answering(scope, receive, send)

    seen: list[float] = []
    began = time.monotonic()
    await called(Door(seconds=10.0).around(looking), Client())
    assert seen[0] == pytest.approx(began + 10.0, abs=0.5)
    assert seen[1] == 1.0
    assert seen[2] == pytest.approx(10.0, abs=0.5)
    assert until() is None


async def held(gate: Gate) -> None:
    """Somebody takes the only permit."""
    await asyncio.create_task(gate.take())


@pytest.mark.parametrize(("method", "kind"), [("GET", "reads"), ("HEAD", "reads"), ("POST", "writes"), ("DELETE", "writes")])
async def test_what_a_gate_would_refuse_is_refused_at_the_door(method: str, kind: str) -> None:
    door, client = Door(), Client()
    await held(getattr(door, kind))
    with pytest.raises(Overloaded):
        await called(door.around(never), client, GET | {"method": method})
    other = "GET" if kind == "writes" else "POST"
    await called(door.around(answering), client, GET | {"method": other})
    assert client.heard == [START, END]


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/metrics"])
async def test_health_is_never_refused(path: str) -> None:
    door, client = Door(), Client()
    await held(door.reads)
    layer = door.around(answering)
    layer.watch.lag.over = True
    await called(layer, client, GET | {"path": path})
    assert client.heard == [START, END]


async def test_a_loop_that_lags_refuses_until_it_has_caught_up() -> None:
    layer = Door(lag_seconds=0.02).around(never)
    waiting = asyncio.create_task(called(layer, Client()))
    await happened(lambda: layer.watch.flights)
    for _ in range(LATE_TICKS):
        assert not layer.watch.lag.over
        time.sleep(0.06)  # noqa: ASYNC251  # what makes a loop lag
        await asyncio.sleep(0.001)
    assert layer.watch.lag.over
    with pytest.raises(Overloaded):
        await called(layer, Client())
    assert layer.watch.shed == 1
    assert await happened(lambda: not layer.watch.lag.over) < 1.0
    waiting.cancel()


async def test_what_is_no_request_passes() -> None:
    seen: list[Scope] = []

    async def looking(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    await called(Door().around(looking), Client(), {"type": "lifespan"})
    assert seen == [{"type": "lifespan"}]


Slow = Callable[[], Awaitable[Any]]


def slowly(database: Database, kind: str) -> ASGIApp:
    """What asks the database for something that takes a minute."""

    async def asking(scope: Scope, receive: Receive, send: Send) -> None:
        async with getattr(database, kind)() as block:
            await getattr(block, "session", block).execute(SLEEP)
        await answering(scope, receive, send)

    return asking


@pytest.mark.parametrize("kind", ["reading", "writing"])
@pytest.mark.parametrize("leaves", [True, False])
async def test_the_statement_of_a_request_that_is_stopped_is_stopped(committed: Database, kind: str, *, leaves: bool) -> None:
    layer, client = Door(seconds=LONG if leaves else 0.3).around(slowly(committed, kind)), Client()
    request = asyncio.create_task(called(layer, client))
    await happened(lambda: asleep(committed))
    if leaves:
        client.says.put_nowait(GONE)
    await asyncio.wait([request])
    assert isinstance(request.exception(), type(None) if leaves else TimedOut)
    assert await happened(lambda: awake(committed)) < 1.0
    for leases in (committed.reads, committed.writes):
        await leases.quiet()
        assert (leases.gate.free, leases.pool.checkedout()) == (leases.gate.permits, 0)


async def asleep(database: Database) -> bool:
    """Whether a connection of the test's database sleeps, or is in a transaction."""
    busy = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%sleep%' AND state <> 'idle'"
    async with database.aside() as session:
        return bool(await session.scalar(text(f"{busy} AND pid <> pg_backend_pid()")))


async def awake(database: Database) -> bool:
    """Whether none does."""
    return not await asleep(database)
