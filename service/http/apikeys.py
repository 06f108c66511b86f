"""The layer that knows who asks: an API key becomes a `Caller`, for every layer and route inside.

A request without a key is nobody's, and may do what everybody may. One with a key that isn't good is refused at once, whatever it
asks for, with the same answer for a key that is unknown, mistyped, expired or revoked. No key is looked at where health is asked
for: that must not wait for the database.
"""

from collections.abc import Awaitable, Iterator
from time import monotonic
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import Problem, Unauthorized
from service.http.callers import Caller
from service.http.costs import HEALTH, METRICS
from service.http.keyring import WRONG_KEY, Keyring, Known
from service.http.scopes import DOCS, READ, SCHEME, scope_of
from service.settings import Settings

AUTHORIZATION = b"authorization"
DESCRIPTION = "An API key: `shelf_<prefix>_<secret>`. `shelfmark keys create` makes one."


class Knowing:
    """Puts the caller into the request's state.

    Args:
        app: what is inside.
        keyring: the keys that are good.
        nobody: who sends none.
    """

    def __init__(self, app: ASGIApp, keyring: Keyring, nobody: Caller) -> None:
        self.app, self._nobody = app, nobody
        self._keyring, self._known = keyring, keyring.known

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, with its caller. A key that was confirmed within the last second costs a look into a dictionary."""
        if scope["type"] == "http" and scope["path"] not in HEALTH:
            state = scope["state"]
            fields = state["fields"]
            sent = fields.get(AUTHORIZATION)
            if sent is None:
                state["caller"] = self._nobody
            else:
                known, now = self._known.get(sent), monotonic()
                if known is None or known.until <= now or len(fields) != len(scope["headers"]):
                    return self._found(scope, receive, send)
                known.used = now
                state["caller"] = known.caller
        return self.app(scope, receive, send)

    async def _found(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on once its key was looked up.

        Raises:
            Unauthorized: it isn't good, or there are two.
            Problem: the database can't say whether it is.
        """
        sent = [value for name, value in scope["headers"] if name == AUTHORIZATION]
        if len(sent) != 1:
            raise Unauthorized(WRONG_KEY)
        scope["state"]["caller"] = (await self._good(sent[0], scope)).caller
        await self.app(scope, receive, send)

    async def _good(self, sent: bytes, scope: Scope) -> Known:
        """The key that was sent. Numbers are wanted most while the database is away: for them one does that was good before."""
        try:
            return await self._keyring.find(sent)
        except Unauthorized:
            raise
        except Problem:
            known = self._known.get(sent)
            if known is None or scope["path"] != METRICS:
                raise
            known.used = monotonic()
            return known


def nobody(settings: Settings) -> Caller:
    """Who sends no key."""
    public = public_of(settings) - (frozenset() if settings.public_docs else {DOCS})
    return Caller(scopes=public, public=public)


def public_of(settings: Settings) -> frozenset[str]:
    """The scopes that every key has besides its own."""
    return frozenset({DOCS, *(f"{table}:{READ}" for table in settings.public_read)})


def describe(app: FastAPI, nobody: Caller) -> None:
    """Tell an application's OpenAPI how a key is sent, and where none is needed."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        document = made()
        schemes = document.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes[SCHEME] = {"type": "http", "scheme": "bearer", "description": DESCRIPTION}
        for operation in _operations(document):
            asked = [scope for way in operation.get("security", []) for scope in way.get(SCHEME, [])]
            if asked and all(scope_of(scope).open_to(nobody.scopes) for scope in asked):
                operation["security"] = [{}, {SCHEME: asked}]
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        yield from item.values()
