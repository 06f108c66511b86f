"""The layers stand outermost, and what the framework would put around them isn't there."""

from typing import Any

from fastapi import FastAPI
from httpx import AsyncClient
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.layered import Layered
from tests.fixtures.application import client_of


class Seen:
    """A layer that keeps what passes it."""

    def __init__(self, app: ASGIApp, met: list[str]) -> None:
        self.app, self._met = app, met

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass it on, and tell of a mistake."""
        try:
            await self.app(scope, receive, send)
        except ZeroDivisionError:
            self._met.append("mistake")
            await send({"type": "http.response.start", "status": 500, "headers": []})
            await send({"type": "http.response.body", "body": b"ours"})


def modules(app: FastAPI) -> list[str]:
    """What a request passes, from the outermost to the router."""
    layer: Any = app.build_middleware_stack()
    found = []
    while layer is not None:
        found.append(type(layer).__name__)
        layer = getattr(layer, "app", None)
    return found


def test_the_layers_are_outermost() -> None:
    app = Layered(middleware=[Middleware(Seen, met=[]), Middleware(Seen, met=[])])
    assert modules(app)[:3] == ["Seen", "Seen", "ExceptionMiddleware"]
    assert modules(app) == modules(app), "it can be built again"


async def test_a_mistake_comes_to_the_layers_and_is_answered_once() -> None:
    met: list[str] = []
    app = Layered(middleware=[Middleware(Seen, met=met)])

    @app.get("/wrong")
    async def wrong() -> None:
        raise ZeroDivisionError

    async with client_of(app, key=None) as client:
        answer = await client.get("/wrong")
    assert (answer.status_code, answer.text, met) == (500, "ours", ["mistake"])


async def test_a_layer_that_is_added_later_is_there(app: FastAPI, client: AsyncClient) -> None:
    met: list[str] = []
    app.add_middleware(Seen, met=met)
    assert modules(app)[0] == "Seen"
    assert (await client.get("/livez")).status_code == 200
