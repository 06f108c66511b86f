"""Answers in parts: whole, or visibly not; nothing is held for a client that takes its time."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from service.app import create_app
from service.db import Database
from service.db.deadline import DEADLINE, Deadline, until
from service.db.gate import Gate
from service.errors import Unavailable
from service.http.layers import HEADED
from service.http.leaving import Leaving, Watch
from service.http.streaming import BrokenOff, Streaming
from service.jobs.exporting import PAGE_ROWS
from service.settings import Settings
from tests.factories.books import BookFactory
from tests.fixtures.keys import ADMIN
from tests.waiting import until as happened

LONG = 60.0
SCOPE: dict[str, Any] = {"type": "http", "method": "GET", "path": "/v1/books.csv", "state": {"id": "urn:uuid:0"}}


class Made:
    """Parts in the making.

    Attributes:
        closed: nobody wants more.
        deadlines: what each part was to be made until.
    """

    def __init__(self, *parts: bytes, error: Exception | None = None) -> None:
        self._parts, self._error = parts, error
        self.closed = False
        self.deadlines: list[float | None] = []

    async def parts(self) -> AsyncGenerator[bytes]:
        """The parts, or what goes wrong after them."""
        try:
            for part in self._parts:
                self.deadlines.append(until())
                yield part
            if self._error:
                raise self._error
        finally:
            self.closed = True


async def nothing() -> Message:
    """A client that says no more."""
    return await asyncio.Event().wait() and {}


async def sent(answer: Streaming, scope: Scope | None = None) -> list[Message]:
    """What a client hears."""
    heard: list[Message] = []

    async def send(message: Message) -> None:
        heard.append(message)

    await answer(scope or dict(SCOPE), nothing, send)
    return heard


def streaming(made: Made, seconds: float = LONG) -> Streaming:
    """An answer."""
    return Streaming(b"first", made.parts(), {"X-Kind": "file"}, "text/csv", seconds=seconds)


async def test_parts_are_sent_as_they_are_made() -> None:
    made = Made(b"second", b"third")
    start, *parts, end = await sent(streaming(made))
    headers = dict(start["headers"])
    assert (start["status"], headers[b"x-kind"], headers[b"content-type"]) == (200, b"file", b"text/csv; charset=utf-8")
    assert b"content-length" not in headers
    assert [part["body"] for part in parts] == [b"first", b"second", b"third"]
    assert all(part["more_body"] for part in parts)
    assert (end["body"], end.get("more_body", False), made.closed) == (b"", False, True)


async def test_the_requests_deadline_is_met_by_its_first_part() -> None:
    made = Made(b"second")
    token = DEADLINE.set(Deadline(monotonic() - 1))
    await asyncio.create_task(sent_in_a_task(streaming(made)))
    DEADLINE.reset(token)
    assert made.deadlines == [None]


async def sent_in_a_task(answer: Streaming) -> None:
    """As each request has one."""
    await sent(answer)


async def test_a_head_makes_no_more_parts() -> None:
    made = Made(b"second")
    heard = await sent(streaming(made), SCOPE | {HEADED: True})
    assert [message["type"] for message in heard] == ["http.response.start", "http.response.body"]
    assert made.deadlines == []


@pytest.mark.parametrize("error", [Unavailable("away"), TimeoutError()])
async def test_an_answer_without_an_end_is_broken_off(error: Exception) -> None:
    heard: list[Message] = []

    async def send(message: Message) -> None:
        heard.append(message)

    with pytest.raises(BrokenOff):
        await streaming(Made(b"second", error=error))(dict(SCOPE), nothing, send)
    assert [message.get("body") for message in heard] == [None, b"first", b"second"]
    assert heard[-1]["more_body"]


async def test_a_client_that_takes_nothing_is_broken_off() -> None:
    made = Made(b"second")

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    with pytest.raises(BrokenOff, match="too slowly"):
        await streaming(made, seconds=0.05)(dict(SCOPE), nothing, send)


async def test_a_client_has_a_second_more_for_each_16_kib() -> None:
    large, heard = bytes(60 * 16 * 1024), []

    async def send(message: Message) -> None:
        heard.append(message.get("body"))
        await asyncio.sleep(0.01)

    await Streaming(large, Made(large, large).parts(), {}, "text/csv", seconds=0)(dict(SCOPE), nothing, send)
    assert heard == [None, large, large, large, b""]


async def test_a_client_that_leaves_ends_the_making() -> None:
    made, says = Made(*[b"part"] * 5), asyncio.Queue[Message]()
    stuck = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await streaming(made)(scope, receive, send)

    async def send(message: Message) -> None:
        if message.get("body") == b"part":
            stuck.set()
            await asyncio.Event().wait()

    gates = [Gate(1, patience_seconds=LONG, queue_most=0) for _ in range(2)]
    request = asyncio.create_task(_called(Leaving(app, LONG, gates[0], gates[1], Watch(LONG)), says, send))
    await stuck.wait()
    says.put_nowait({"type": "http.disconnect"})
    await request
    assert made.closed


async def _called(app: Leaving, says: asyncio.Queue[Message], send: Send) -> None:
    await app(dict(SCOPE), says.get, send)


async def test_a_slow_client_holds_no_connection(settings: Settings, committed: Database) -> None:
    for number in range(PAGE_ROWS[1] + 5):
        await BookFactory.create(title=f"Title {number}")
    app = create_app(settings, committed)
    heard: list[Message] = []
    slow, going_on = asyncio.Event(), asyncio.Event()

    async def send(message: Message) -> None:
        heard.append(message)
        if message.get("body"):
            slow.set()
            await going_on.wait()

    headers = [(b"authorization", f"Bearer {ADMIN}".encode()), (b"host", b"test")]
    scope = SCOPE | {"headers": headers, "query_string": b"", "raw_path": b"", "scheme": "http", "state": {}, "root_path": ""}
    request = asyncio.create_task(app({**scope, "asgi": {"version": "3.0"}, "client": ("test", 1)}, nothing, send))
    await slow.wait()
    gate = committed.reads.gate
    await happened(lambda: gate.free == gate.permits)
    going_on.set()
    await request
    body = b"".join(message.get("body", b"") for message in heard)
    assert (heard[0]["status"], body.count(b"\n")) == (200, PAGE_ROWS[1] + 6)
