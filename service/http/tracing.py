"""The layer that gives each request a span, where spans are asked for. It stands outside of all others."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.problems import route_of
from service.http.requests import METHODS, OTHER
from service.telemetry.tracing import Spans


class Tracing:
    """Puts a span around each request: its method, its route's template, its status and its id, and nothing that a client wrote."""

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self.app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, within its span."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 0

        async def told(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else OTHER
        ended = self._spans.request(method, dict(scope["headers"]))
        try:
            await self.app(scope, receive, told)
        finally:
            ended(route_of(scope), status, scope.get("state", {}).get("id", ""))
