"""The class of every route of a table, its own and those that a table file adds: what they share before a handler runs."""

from collections.abc import Callable, Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service.http.idempotency import once
from service.http.scopes import Declared


class Route(Declared):
    """A route that needs its table's scopes, and whose POST does what an idempotency key stands for at most once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request; FastAPI's own handler inside."""
        handle = super().get_route_handler()
        return once(handle) if self.methods == {"POST"} else handle
