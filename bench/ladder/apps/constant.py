"""What no service over HTTP can pass: bytes that are there already, from bare ASGI on the same server."""

import json
from typing import Any

from starlette.types import Receive, Scope, Send

from bench.ladder.data import PAGE

KIND = (b"content-type", b"application/json")
ROW = {
    "id": 500_000,
    "category": 434,
    "name": "Item 8f14e45fceea167a5a36dedd4bea2543",
    "price": "482.17",
    "attrs": {"size": 7, "tags": ["a0", "b7"], "color": "black"},
    "created_at": "2024-01-01T00:00:10.500000Z",
}
CURSOR = "x" * 60


def app() -> Any:
    """As many bytes as this service answers: a row, or a page of rows."""
    one, many = (json.dumps(answer).encode() for answer in (ROW, {"data": [ROW] * PAGE, "next": CURSOR}))

    async def constant(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # what an application is
        if scope["type"] == "http":
            body = one if scope["path"] != "/items" else many
            headers = [(b"content-length", b"%d" % len(body)), KIND]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

    return constant


def not_modified() -> Any:
    """That nothing has changed."""

    async def constant(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001  # what an application is
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 304, "headers": [(b"etag", b'"1-0a1b2c3d"')]})
            await send({"type": "http.response.body", "body": b""})

    return constant
