"""A job's events as a client reads them: server-sent events, from the present state to the last one.

An event's id is the version of the job's row, so a client that comes back with `Last-Event-ID` is told what it has missed, and
nothing that it knows. Only the newest state is told: a slow client skips what came between, and nothing is kept for it. One that
reads nothing at all for a minute is let go.

A stream may outlive a key. So before anything is told the key is looked at again, and has been confirmed within the last second.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from time import perf_counter

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from service.http.following import Followed, Following
from service.http.layers import BEGUN, HEADED
from service.jobs.watching import UNSEEN, Seen

EVENTS = "text/event-stream"
RETRY_SECONDS = 2.0
"""After which a client comes back whose stream has broken off."""
HEARTBEAT_SECONDS = 15.0
STALLED_SECONDS = 60.0
HEADERS = {"cache-control": "private, no-store", "x-accel-buffering": "no"}  # the second: nginx passes each event on at once
BEAT = b":\n\n"
Still = Callable[[Seen], Awaitable[bool | None]]
"""Whether the client may still be told of a job; None where nobody can say at the moment."""


class Stream(Response):
    """The events of a job, until it ends, its client leaves, or the process is about to end.

    Args:
        following: tells of changes.
        seen: the job as it is.
        known: the version that the client has seen; None: none.
        place: entered for as long as the stream is open.
        still: whether the client may still be told.
    """

    media_type = EVENTS

    def __init__(
        self, following: Following, seen: Seen, known: int | None, place: AbstractContextManager[None], still: Still
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._following, self._seen, self._known, self._place, self._still = following, seen, known, place, still

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002  # a layer notices who leaves
        """Tell the client of its job.

        Raises:
            Problem: too many streams are open.
        """
        with self._place, self._following.follow(self._seen) as followed:
            scope["state"][BEGUN] = perf_counter()
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            try:
                if HEADED not in scope:
                    await self._tell(followed, send)
                await _sent(send, b"", more=False)
            except TimeoutError:
                return

    async def _tell(self, followed: Followed, send: Send) -> None:
        await _sent(send, b"retry: %d\n\n" % (RETRY_SECONDS * 1000))
        known = self._known
        while True:
            seen = followed.seen
            still = await self._still(seen)
            news = seen.version != known
            if still is False or seen.version == UNSEEN or (news and not still):  # a client that comes back is asked who it is
                return
            if news:
                await _sent(send, event(seen))
                known = seen.version
            if seen.ended or self._following.traffic.draining:
                return
            if followed.seen is seen and not (await asyncio.wait([followed.changed], timeout=HEARTBEAT_SECONDS))[0]:
                await _sent(send, BEAT)


def event(seen: Seen) -> bytes:
    """A state of a job as an event."""
    return b"id: %d\ndata: %b\n\n" % (seen.version, seen.shown.encode())


async def _sent(send: Send, body: bytes, *, more: bool = True) -> None:
    """Send a part of the answer.

    Raises:
        TimeoutError: the client reads nothing.
    """
    message: Message = {"type": "http.response.body", "body": body, "more_body": more}
    async with asyncio.timeout(STALLED_SECONDS):
        await send(message)
