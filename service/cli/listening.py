"""The server's own side of HTTP: heads of requests that are too large or too slow, which no application ever sees.

uvicorn by itself reads a head of any size and waits for it for ever, and reads on after a refusal for as long as a client sends.
"""

import asyncio
from typing import Any
from uuid import uuid4

from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.cli.corking import Corked
from service.db.wire import render

URL_BYTES_MOST = 16 * 1024
HEAD_BYTES_MOST = 64 * 1024
HEADERS_MOST = 100
REST_BYTES_MOST = 64 * 1024 * 1024
"""Of a body that was refused: clients that send all of it before they read the answer get to read it."""
GRACE_SECONDS = 0.2
"""What a connection without a request is kept for when the server ends: one may be on its way."""
MALFORMED = (400, "Bad Request", "This is no HTTP request. Look at what your client, or a proxy in between, sends.")
SLOW = (408, "Request Timeout", "The head of the request didn't arrive in time. Send it all at once.")
LONG = (414, "URI Too Long", f"The URL has more than {URL_BYTES_MOST} bytes. Ask for less at once.")
LARGE = (
    431,
    "Request Header Fields Too Large",
    f"The headers have more than {HEAD_BYTES_MOST} bytes, or are too many. Send fewer.",
)


class Listening(HttpToolsProtocol):
    """uvicorn's protocol with bounds: what exceeds them is refused by a problem, and the connection is closed.

    A head may take as many seconds as the application's settings allow for a body, from its first byte or from the connection's
    beginning.
    """

    def __init__(self, config: Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._seconds: float = config.loaded_app.state.service.settings.body_seconds
        self._timer: asyncio.TimerHandle | None = None
        self._head = self._rest = 0
        self._refusal = MALFORMED

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Begin to wait for a head."""
        super().connection_made(Corked(transport, self.loop))  # type: ignore[arg-type]  # a transport but for its base
        self._timer = self.loop.call_later(self._seconds, self._late)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; count what belongs to a head."""
        self._head += len(data)
        super().data_received(data)
        if self._is_in_head():
            if self._head > HEAD_BYTES_MOST:
                self._refuse(LARGE)
            elif self._timer is None:
                self._timer = self.loop.call_later(self._seconds, self._late)

    def on_headers_complete(self) -> None:
        """Begin to answer, unless the head is too large."""
        self._stop_timer()
        if len(self.url) > URL_BYTES_MOST:
            self._refuse_while_parsing(LONG)
        if len(self.headers) > HEADERS_MOST or (self._head > HEAD_BYTES_MOST and self._bytes() > HEAD_BYTES_MOST):
            self._refuse_while_parsing(LARGE)
        self._head = self._rest = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Read on; what follows a refusal only up to a bound."""
        super().on_body(body)
        if self.cycle.response_complete:
            self._rest += len(body)
            if self._rest > REST_BYTES_MOST:
                self.transport.abort()
            elif self._timer is None:
                self._timer = self.loop.call_later(self._seconds, self.transport.close)

    def on_message_complete(self) -> None:
        """The end of a request, of one that was refused too."""
        self._stop_timer()
        self._head = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  # uvicorn's own words
        """Refuse, and close the connection."""
        self._refuse(self._refusal)

    def shutdown(self) -> None:
        """End, without breaking off a request that is on its way already."""
        if self._is_idle():
            self.loop.call_later(GRACE_SECONDS, self._close_idle)
        else:
            self.cycle.keep_alive = False

    def _is_idle(self) -> bool:
        """Whether no request is being answered. uvicorn has none before the first."""
        cycle: Any = self.cycle
        return cycle is None or cycle.response_complete

    def _close_idle(self) -> None:
        if self._is_idle():
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def _is_in_head(self) -> bool:
        """Whether a request has begun whose head isn't complete: uvicorn names the method when it is."""
        return self.parser is not None and self.scope is not None and "method" not in self.scope

    def _bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _late(self) -> None:
        self._timer = None
        if self._head and not self.transport.is_closing():
            self._refuse(SLOW)
        else:
            self.transport.close()

    def _refuse_while_parsing(self, refusal: tuple[int, str, str]) -> None:
        """Stop the parser, which then has `send_400_response` called."""
        self._refusal = refusal
        raise ValueError(refusal[1])

    def _refuse(self, refusal: tuple[int, str, str]) -> None:
        status, title, detail = refusal
        problem = {"type": "about:blank", "title": title, "status": status, "detail": detail, "instance": f"urn:uuid:{uuid4()}"}
        body = render(problem)
        fields = [b"content-type: application/problem+json", b"content-length: %d" % len(body), b"connection: close"]
        if not self.transport.is_closing():
            self.transport.write(STATUS_LINE[status] + b"\r\n".join(fields) + b"\r\n\r\n" + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._timer:
            self._timer.cancel()
            self._timer = None
