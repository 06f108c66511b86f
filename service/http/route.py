"""The class of every route of a table, its own and those that a table file adds: what they share before a handler runs."""

from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response

from service.http.idempotency import once
from service.http.scopes import Declared

BY_ITSELF = "__once_by_itself__"
F = TypeVar("F", bound=Callable[..., Any])


def once_by_itself(endpoint: F) -> F:
    """Declare that a POST route heeds idempotency keys by itself: its body is too large to be held."""
    setattr(endpoint, BY_ITSELF, True)
    return endpoint


class Route(Declared):
    """A route that needs its table's scopes, and whose POST does what an idempotency key stands for at most once."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What answers a request; FastAPI's own handler inside."""
        handle = super().get_route_handler()
        return once(handle) if self.methods == {"POST"} and not hasattr(self.endpoint, BY_ITSELF) else handle


def routes(app: FastAPI, method: str) -> Iterator[Any]:
    """Every route that answers a method, in the order in which they are tried; those of included routers with their whole paths."""
    for route in app.routes:
        inner = getattr(route, "effective_route_contexts", None)
        for one in inner() if inner else [route]:
            if method in (getattr(one, "methods", None) or ()):
                yield one
