"""What a request must be allowed to do: every route declares its scope, which is checked before a body is read.

A table's routes need `<table>:read` to GET and `<table>:write` for the rest, its own routes too. Other routes say what they need
by `needs`, or by `open_to_all` that they need nothing. A route that says nothing lets administrators in alone.

What a key has asked for itself it may see, whatever its scopes: a table of such rows (`own`) lets every key in, and its routes look
at no other rows then (`http/jobs.py`).

A key may be confined to rows: what a table's routes do about that stands in `confining.py`. A route of one's own must say by
`minds_rows` that it looks at the rows of a confined key only, else such a key is refused.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

from fastapi.routing import APIRoute
from starlette.types import Receive, Scope, Send

from service.errors import Forbidden, Unauthorized
from service.http.callers import Caller, caller_of
from service.http.problems import responses

ADMIN, EVERY = "admin", "*"
READ, WRITE = "read", "write"
DOCS = "docs:read"
METRICS = "metrics"
"""To read what is counted; nothing else grants it but `admin`."""
SCHEME = "key"
"""What OpenAPI calls the way in which keys are sent."""
NEEDS, MINDS = "__needs__", "__minds_rows__"
NO_KEY = "Send an API key, as Authorization: Bearer shelf_... Whoever runs the service makes one by `shelfmark keys create`."
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Needed:
    """What one route needs.

    Attributes:
        scope: the scope that is asked for; empty: none.
        grants: the scopes that allow it.
        own: whether any other key may do it too, with what it has asked for itself.
    """

    scope: str
    grants: frozenset[str]
    own: bool = False

    def check(self, caller: Caller) -> None:
        """Refuse a caller who may not do this.

        Raises:
            Unauthorized: nobody in particular.
            Forbidden: the bearer of a key that hasn't this scope.
        """
        if self.grants.isdisjoint(caller.scopes) and self.scope and not (self.own and caller.key):
            raise self._refusal(caller)

    def open_to(self, scopes: frozenset[str]) -> bool:
        """Whether scopes allow it."""
        return not self.scope or not self.grants.isdisjoint(scopes)

    def _refusal(self, caller: Caller) -> Unauthorized | Forbidden:
        if not caller.key:
            return Unauthorized(NO_KEY)
        has = ", ".join(sorted(caller.scopes - caller.public)) or "none"
        return Forbidden(f"It needs the scope {self.scope}, and has {has}. Use a key that has it.", scope=self.scope)


NOTHING = Needed("", frozenset())


@cache
def scope_of(name: str) -> Needed:
    """What needs a scope: `books:read`, `admin`."""
    _, _, verb = name.partition(":")
    return Needed(name, frozenset({name, ADMIN, *([f"{EVERY}:{verb}"] if verb else [])}))


@cache
def needed(table: str, method: str) -> Needed:
    """What a request to a table's routes needs."""
    return scope_of(f"{table}:{READ if method in {'GET', 'HEAD'} else WRITE}")


def needs(scope: str) -> Callable[[F], F]:
    """Declare what a route needs, where that isn't what its table says."""

    def declared(endpoint: F) -> F:
        setattr(endpoint, NEEDS, scope_of(scope))
        return endpoint

    return declared


def open_to_all(endpoint: F) -> F:
    """Declare that a route needs nothing."""
    setattr(endpoint, NEEDS, NOTHING)
    return endpoint


def minds_rows(endpoint: F) -> F:
    """Declare that a route of one's own shows and changes a confined key's rows only."""
    setattr(endpoint, MINDS, True)
    return endpoint


class Declared(APIRoute):
    """A route that knows what it needs.

    Attributes:
        table: the table that it belongs to, if any.
        rows: names that keys may be confined by, and that the table knows.
        own: whether a key without the table's scopes may see what it has asked for itself.
        needed: what it needs; None where nobody said.
    """

    table: str | None = None
    rows: frozenset[str] = frozenset()
    own = False

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        methods: Sequence[str] = sorted(options.get("methods") or ["GET"])
        by_table = replace(needed(self.table, methods[0]), own=self.own) if self.table else None
        self.needed: Needed | None = getattr(endpoint, NEEDS, by_table)
        self._asks = self.needed or scope_of(ADMIN)
        self._minds = bool(getattr(endpoint, MINDS, False))
        super().__init__(path, endpoint, **(options | self._told(options)))

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse who may not do this, before anything of the body is read."""
        if scope["method"] in (self.methods or ()):
            caller = caller_of(scope)
            self._asks.check(caller)
            if caller.within and self.table is not None:
                self._confine(caller)
        await super().handle(scope, receive, send)

    def _confine(self, caller: Caller) -> None:
        """Refuse a confined key where nothing would confine it, unless what it asks for is open to everybody."""
        if self._minds and (self._asks.own or self.rows.issuperset(caller.within)):
            return
        if not self._asks.open_to(caller.public):
            raise confined(caller, f"Nothing here is so confined ({self.path}), so it would see everything.")

    def _told(self, options: dict[str, Any]) -> dict[str, Any]:
        """What OpenAPI says of it."""
        if not self._asks.scope:
            return {"openapi_extra": {**(options.get("openapi_extra") or {}), "security": []}}
        refusals = responses(Unauthorized, Forbidden)
        return {
            "openapi_extra": {**(options.get("openapi_extra") or {}), "security": [{SCHEME: [self._asks.scope]}]},
            "responses": {**(options.get("responses") or {}), **refusals},
        }


def confined(caller: Caller, why: str) -> Forbidden:
    """The refusal of a key for the sake of the rows that it is confined to."""
    rows = " and ".join(f"{name}={value}" for name, value in caller.within.items())
    return Forbidden(f"This key is confined to {rows}. {why}", within=dict(caller.within))


def unknown(scopes: Iterable[str], tables: Iterable[str]) -> list[str]:
    """Scopes that no route needs."""
    names = {EVERY, *tables}
    known = {ADMIN, METRICS, *(f"{name}:{verb}" for name in names for verb in (READ, WRITE))}
    return [scope for scope in scopes if scope not in known]
