"""The express lane: GETs of tables, answered inside the last layer and before FastAPI's router.

Routing, dependencies and the response of a framework cost more than the rest of a read. So a GET that a table's own list or row
route would answer, and that `reading.py` can, is answered here; all else goes on to FastAPI, where the routes stay declared.
Answers are the same bytes and headers either way, and every layer around has seen the request. A route is left to FastAPI where
somebody has given it more to do: a dependency, an override, a response class, another route before it, a shape that Python works
out.
"""

from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.datastructures import DefaultPlaceholder
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.callers import caller_of
from service.http.layers import HEADED
from service.http.reading import Answer, Reader
from service.http.requests import ANSWERS, EXPRESS, Answers
from service.http.scopes import Needed, needed
from service.http.table import LANED, Table

LENGTH, KIND = b"content-length", (b"content-type", b"application/json")
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lane:
    """A route that is answered here.

    Attributes:
        route: FastAPI's own, with its template as `path`.
        needed: the scope that it needs.
        answers: where what it answers is counted.
        heads: the same, of answers to HEAD.
    """

    route: Any
    table: Table
    needed: Needed
    answers: Answers
    heads: Answers


class Lanes:
    """The routes of an application that are answered here, found once all of them are there.

    Attributes:
        lists: path -> the list that it answers.
        rows: path before the key -> the row that is answered there.
    """

    def __init__(self) -> None:
        self.lists: dict[str, Lane] = {}
        self.rows: dict[str, Lane] = {}
        self._found = False

    def find(self, app: FastAPI) -> None:
        """Look which routes are plain; say once why another isn't."""
        if self._found:
            return
        self._found = True
        before: list[Any] = []
        for route in _routes(app):
            table: Table | None = getattr(route.endpoint, LANED, None)
            if table is not None:
                self._add(table, route, before, app.state)
            before.append(route)

    def _add(self, table: Table, route: Any, before: list[Any], state: State) -> None:
        reason = table.reader_of(state.service).missing or _more(route) or _shadowed(route, before)
        if reason:
            log.info("a route is answered by FastAPI, not by the express lane", route=route.path, reason=reason)
            return
        counted = [state.requests.of(route.path, method, EXPRESS) for method in ("GET", "HEAD")]
        lane = Lane(route, table, needed(table.of.contract.table, "GET"), *counted)
        path, _, last = route.path.rpartition("/")
        if last.startswith("{"):
            self.rows[path] = lane
        else:
            self.lists[route.path] = lane


class Express:
    """Answers what has a lane; passes on all else.

    Args:
        app: what is inside.
        lanes: of the application.
    """

    def __init__(self, app: ASGIApp, lanes: Lanes) -> None:
        self.app, self._lanes = app, lanes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, or answer it."""
        if scope["type"] == "http" and scope["method"] == "GET" and not scope["app"].dependency_overrides:
            lanes, path = self._lanes, scope["path"]
            lanes.find(scope["app"])
            lane = lanes.lists.get(path)
            if lane is not None:
                return self._list(lane, scope, receive, send)
            before, _, key = path.rpartition("/")
            lane = lanes.rows.get(before)
            if lane is not None:
                return self._row(lane, key, scope, receive, send)
        return self.app(scope, receive, send)

    async def _list(self, lane: Lane, scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if self._enter(lane, scope):
            answer = await self._reader(lane, scope).page(scope["path"], scope["query_string"])
        await self._leave(answer, scope, receive, send)

    async def _row(self, lane: Lane, key: str, scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if self._enter(lane, scope):
            answer = await self._reader(lane, scope).single(key, scope["query_string"])
        await self._leave(answer, scope, receive, send)

    def _reader(self, lane: Lane, scope: Scope) -> Reader:
        return lane.table.reader_of(scope["app"].state.service)

    def _enter(self, lane: Lane, scope: Scope) -> bool:
        """Whether the caller sees every row of the table.

        Raises:
            Unauthorized: nobody in particular asks, and not everybody may.
            Forbidden: the key hasn't the scope.
        """
        scope["route"], scope["state"][ANSWERS] = lane.route, lane.heads if HEADED in scope else lane.answers
        caller = caller_of(scope)
        lane.needed.check(caller)
        return not caller.within

    async def _leave(self, answer: Answer | None, scope: Scope, receive: Receive, send: Send) -> None:
        if answer is None:
            del scope["route"], scope["state"][ANSWERS]
            await self.app(scope, receive, send)
            return
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        headers += [(LENGTH, b"%d" % len(answer.body)), KIND]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _routes(app: FastAPI) -> Iterator[Any]:
    """Every route that answers GET, in the order in which they are tried; those of included routers with their whole paths."""
    for route in app.routes:
        inner = getattr(route, "effective_route_contexts", None)
        for one in inner() if inner else [route]:
            if "GET" in (getattr(one, "methods", None) or ()):
                yield one


def _more(route: Any) -> str | None:
    """What a route does besides."""
    if route.dependant.dependencies:
        return "it has a dependency"
    if not isinstance(route.response_class, DefaultPlaceholder):
        return "it has a response class of its own"
    return None


def _shadowed(route: Any, before: list[Any]) -> str | None:
    """Which route is tried before, and might answer instead."""
    path, _, last = route.path.rpartition("/")
    for other in before:
        beside = last.startswith("{") and other.path.rpartition("/")[0] == path
        if beside or other.path_regex.match(route.path):
            return f"{other.path} comes before it"
    return None
