"""The end of a process, for its clients: `/readyz` says no first, connections are told to close, and what is in flight is counted.

For as long as load balancers need to notice, new requests are answered all the same (`service/cli/stopping.py`).
"""

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.db.wire import render

READY = "/readyz"
CLOSE = (b"connection", b"close")
UNREADY = render({"status": "unready", "problems": ["draining: the process is about to end"], "degraded": []})


class Traffic:
    """What a process has in flight.

    Attributes:
        draining: whether the process is about to end.
        running: requests that aren't answered to the end.
    """

    __slots__ = ("_empty", "draining", "running")

    def __init__(self) -> None:
        self.draining = False
        self.running = 0
        self._empty: asyncio.Event | None = None

    def look(self) -> None:
        """Tell who waits for the end, if nothing is in flight."""
        if self._empty and not self.running:
            self._empty.set()

    async def ended(self, seconds: float) -> bool:
        """Wait until nothing is in flight, but not longer than so many seconds; whether that is so."""
        self._empty = asyncio.Event()
        with suppress(TimeoutError):
            if self.running:
                await asyncio.wait_for(self._empty.wait(), seconds)
        return not self.running


class Draining:
    """Counts what is in flight; once the process is about to end, says so."""

    def __init__(self, app: ASGIApp, traffic: Traffic) -> None:
        self.app, self.traffic = app, traffic

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        traffic = self.traffic
        traffic.running += 1
        try:
            if traffic.draining:
                await self._last(scope, receive, send)
            else:
                await self.app(scope, receive, send)
        finally:
            traffic.running -= 1
            if traffic.draining:
                traffic.look()

    async def _last(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, and have its connection closed: the client opens the next one elsewhere."""
        scope["state"]["added"].append(CLOSE)
        if scope["path"] == READY:
            await _unready(send)
        else:
            await self.app(scope, receive, send)


async def _unready(send: Send) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(UNREADY)).encode())]
    start: Message = {"type": "http.response.start", "status": 503, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": UNREADY, "more_body": False})
