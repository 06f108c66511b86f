"""The express lane: lists, rows and new rows of tables, answered inside the last layer and before FastAPI's router.

Routing, dependencies and the response of a framework cost more than the rest of a read, or of a write that is one statement. So a
GET that a table's own list or row route would answer, and that `reading.py` can, is answered here, and so is a POST that adds a
row and needs no unit of work; all else goes on to FastAPI, where the routes stay declared: a body that isn't right, too, so that
one place says what is wrong with it. Answers are the same bytes and headers either way, and every layer around has seen the
request. A route is left to FastAPI where somebody has given it more to do: a dependency, an override, a response class, another
route before it, a shape that Python works out.
"""

import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.datastructures import DefaultPlaceholder
from starlette.datastructures import State
from starlette.types import ASGIApp, Receive, Scope, Send

from service.http.bodies import taken
from service.http.callers import caller_of
from service.http.etags import FIELD, is_known
from service.http.idempotency import what_once
from service.http.layers import HEADED
from service.http.reading import Answer, Reader
from service.http.requests import ANSWERS, EXPRESS, Answers
from service.http.route import routes
from service.http.schema import Schema
from service.http.scopes import Needed, needed
from service.http.table import LANED, TAKES, Table

JSON = b"application/json"
LENGTH, KIND = b"content-length", (b"content-type", JSON)
READ, CREATED, KNOWN = 200, 201, 304
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Lane:
    """A route that is answered here.

    Attributes:
        route: FastAPI's own, with its template as `path`.
        needed: the scope that it needs.
        answers: where what it answers is counted.
        heads: the same, of answers to HEAD.
        takes: what a body must be, where one is sent.
    """

    route: Any
    table: Table
    needed: Needed
    answers: Answers
    heads: Answers
    takes: type[Schema] | None = None


class Lanes:
    """The routes of an application that are answered here, found once all of them are there.

    Attributes:
        lists: path -> the list that it answers.
        rows: path before the key -> the row that is answered there.
        creates: path -> where a row is added.
        left: method and path -> why FastAPI answers them.
    """

    def __init__(self) -> None:
        self.lists: dict[str, Lane] = {}
        self.rows: dict[str, Lane] = {}
        self.creates: dict[str, Lane] = {}
        self.left: dict[tuple[str, str], str] = {}
        self._found = False

    def find(self, app: FastAPI) -> None:
        """Look which routes are plain; say once why another isn't."""
        if self._found:
            return
        self._found = True
        for method in ("GET", "POST"):
            before: list[Any] = []
            for route in routes(app, method):
                table: Table | None = getattr(route.endpoint, LANED, None)
                if table is not None:
                    self._add(table, route, method, before, app.state)
                before.append(route)

    def _add(self, table: Table, route: Any, method: str, before: list[Any], state: State) -> None:
        service = state.service
        lacking = table.reader_of(service).missing if method == "GET" else table.writer_of(service).missing("create")
        reason = lacking or _more(route) or _shadowed(route, before)
        if reason:
            self.left[method, route.path] = reason
            if method == "GET":  # a table that has its own way to write means it
                log.info("a route is answered by FastAPI, not by the express lane", route=route.path, reason=reason)
            return
        answers, heads = [state.requests.of(route.path, counted, EXPRESS) for counted in (method, "HEAD")]
        takes = getattr(route.endpoint, TAKES, None)
        lane = Lane(route, table, needed(table.of.contract.table, method), answers, heads, takes)
        path, _, last = route.path.rpartition("/")
        if method == "POST":
            self.creates[route.path] = lane
        elif last.startswith("{"):
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
        if scope["type"] != "http" or scope["app"].dependency_overrides:
            return self.app(scope, receive, send)
        lanes, path = self._lanes, scope["path"]
        lanes.find(scope["app"])
        if scope["method"] == "GET":
            lane = lanes.lists.get(path)
            if lane is not None:
                return self._list(lane, scope, receive, send)
            before, _, key = path.rpartition("/")
            lane = lanes.rows.get(before)
            if lane is not None:
                return self._row(lane, key, scope, receive, send)
        elif scope["method"] == "POST":
            lane = lanes.creates.get(path)
            if lane is not None and lane.takes is not None and _is_json(scope):
                return self._create(lane, lane.takes, scope, receive, send)
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

    async def _create(self, lane: Lane, takes: type[Schema], scope: Scope, receive: Receive, send: Send) -> None:
        answer = None
        if self._enter(lane, scope):
            body, receive = await taken(receive)
            given = _understood(takes, body)
            if given is not None and body is not None:
                once, values = what_once(scope, body), lane.table.placed(caller_of(scope), given)
                answer = await lane.table.insert(scope["app"].state.service, scope["path"], values, once)
        await self._leave(answer, scope, receive, send, CREATED)

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

    async def _leave(self, answer: Answer | None, scope: Scope, receive: Receive, send: Send, status: int = READ) -> None:
        if answer is None:
            del scope["route"], scope["state"][ANSWERS]
            await self.app(scope, receive, send)
            return
        if status == READ and is_known(scope, answer.etag):
            await send({"type": "http.response.start", "status": KNOWN, "headers": [(FIELD, answer.etag)]})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers.items()]
        headers += [(FIELD, answer.etag), (LENGTH, b"%d" % len(answer.body)), KIND]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def _is_json(scope: Scope) -> bool:
    """Whether a body is said to be JSON."""
    kind: bytes = scope["state"]["fields"].get(KIND[0], b"")
    return kind.partition(b";")[0] == JSON


def _understood(takes: type[Schema], body: bytes | None) -> Schema | None:
    """What a body says, read as FastAPI reads it; None where that goes wrong."""
    try:
        return takes.model_validate(json.loads(body or b""))
    except (ValueError, RecursionError):
        return None


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
