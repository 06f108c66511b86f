"""An answer that is sent as it is made: in parts, the first of which was there before anything was sent.

Whoever takes it holds nothing but this answer up. A client too slow to be waited for is broken off, and so is an answer that can't
be made to its end: the connection is closed before the body's end, which tells the client that it hasn't all of it.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.db.deadline import DEADLINE
from service.errors import Problem
from service.http.layers import HEADED
from service.http.room import LEAST_BYTES_PER_SECOND

log = structlog.get_logger(__name__)


class BrokenOff(RuntimeError):
    """An answer that was begun, and has no end. What stands around answers nothing more: the server closes the connection."""


class Streaming(Response):
    """An answer in parts.

    Args:
        first: the first part.
        rest: the others, made when the one before is sent. It takes as long as it takes: the request's deadline is met.
        headers: of the answer.
        media_type: likewise.
        seconds: for which the client may let the service wait in all, with a second more for each 16 KiB.
        size: of all parts together, in bytes; None: nobody knows it before the end.
    """

    def __init__(
        self,
        first: bytes,
        rest: AsyncGenerator[bytes],
        headers: Mapping[str, str],
        media_type: str,
        *,
        seconds: float,
        size: int | None = None,
    ) -> None:
        super().__init__(None, 200, headers, media_type)
        del self.headers["content-length"]
        if size is not None:
            self.headers["content-length"] = str(size)
        self._first, self._rest, self._seconds = first, rest, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # who leaves is noticed by a layer
        """Send it."""
        DEADLINE.set(None)
        async with aclosing(self._rest) as rest:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if HEADED not in scope:
                await self._send(rest, send, scope)
            await send({"type": "http.response.body", "body": b""})

    async def _send(self, rest: AsyncGenerator[bytes], send: Send, scope: Scope) -> None:
        try:
            await self._sent(self._first, send)
            async for part in rest:
                await self._sent(part, send)
        except (Problem, TimeoutError) as error:
            why = error.detail if isinstance(error, Problem) else "its client takes it too slowly"
            log.warning("an answer was broken off", path=scope["path"], instance=scope["state"]["id"], reason=why)
            raise BrokenOff(why) from error

    async def _sent(self, part: bytes, send: Send) -> None:
        """Send a part, as long as the client has time."""
        loop = asyncio.get_running_loop()
        self._seconds += len(part) / LEAST_BYTES_PER_SECOND
        began = loop.time()
        async with asyncio.timeout(self._seconds):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        self._seconds -= loop.time() - began
