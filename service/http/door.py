"""What is turned away at the door, before anything is parsed: foreign names, and bodies too large, too slow or compressed.

A body is counted as it comes, whatever its head has said of it; what was read is held by nobody but the route.
"""

import asyncio
from collections.abc import Awaitable, Iterable
from ipaddress import ip_address

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLarge, MalformedBody, SlowBody, UnknownHost, UnsupportedMediaType
from service.http.costs import HEALTH, METRICS
from service.http.room import LONGER, Room, Rooms

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
ANY = "*"
REMEMBERED = 1000
LARGE = "The body has more than {most} bytes, the most that this service reads. {advice}"
SLOW = "The body didn't arrive within {seconds:g} s and a second more for each {pace} KiB. Send it again, all at once."
PACKED = "Send the body as it is, without Content-Encoding: this service doesn't unpack bodies."


class Hosts:
    """Answers under the service's own names: a page that has its name lead here (DNS rebinding) reads nothing.

    Health checks may use any name, and so may who reads metrics: they come from machines that know an address only.

    Args:
        app: what is inside.
        names: `api.example.org`, `*.example.org`, `*`; without a port.
    """

    def __init__(self, app: ASGIApp, names: Iterable[str] = (ANY,)) -> None:
        self.app = app
        self._names = frozenset(name.lower() for name in names)
        self._any = ANY in self._names
        self._known: set[bytes] = set()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, or refuse it."""
        if not self._any and scope["type"] == "http":
            fields = scope["state"]["fields"]
            if fields.get(b"host") not in self._known or len(fields) != len(scope["headers"]):
                self._look(scope)
        return self.app(scope, receive, send)

    def _look(self, scope: Scope) -> None:
        if scope["path"] in HEALTH or scope["path"] == METRICS:
            return
        named = [value for name, value in scope["headers"] if name == b"host"]
        name = _without_port(named[0].decode("latin-1").lower()) if len(named) == 1 else ""
        if name not in self._names and not any(_below(name, pattern) for pattern in self._names):
            raise UnknownHost("The Host header names another service. Whoever runs this one lists its names in SHELFMARK_HOSTS.")
        if len(self._known) < REMEMBERED:
            self._known.add(named[0])


class Bounding:
    """Refuses bodies that are compressed, larger than the room that their routes have for them, or slower."""

    def __init__(self, app: ASGIApp, rooms: Rooms) -> None:
        self.app, self._rooms = app, rooms

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Pass a request on, its body bounded."""
        if scope["type"] == "http":
            fields = scope["state"]["fields"]
            if b"content-length" in fields or b"transfer-encoding" in fields:
                declared = self._rooms.declared(scope)
                if declared:
                    scope["state"][LONGER] = declared.longest
                room = declared or self._rooms.usual
                _check(fields, room)
                receive = _bounded(receive, room)
        return self.app(scope, receive, send)


def _check(fields: dict[bytes, bytes], room: Room) -> None:
    length = fields.get(b"content-length", b"0")
    if not length.isdigit():
        raise MalformedBody("Content-Length is no number of bytes. Send the length of the body, or send it in chunks.")
    if len(length) > len(str(room.most)) or int(length) > room.most:
        raise BodyTooLarge(LARGE.format(most=room.most, advice=room.advice))
    if fields.get(b"content-encoding", b"identity").lower() not in {b"identity", b""}:
        refusal = UnsupportedMediaType(PACKED)
        refusal.headers = {"Accept-Encoding": "identity"}
        raise refusal


def _bounded(receive: Receive, room: Room) -> Receive:
    got = 0
    whole = False
    began = asyncio.get_running_loop().time()

    async def bounded() -> Message:
        nonlocal got, whole
        if whole:
            return await receive()  # what follows a body is only that the client leaves
        try:
            async with asyncio.timeout_at(began + room.seconds + got / room.pace):
                message = await receive()
        except TimeoutError:
            raise SlowBody(SLOW.format(seconds=room.seconds, pace=room.pace // 1024)) from None
        got += len(message.get("body", b""))
        if got > room.most:
            raise BodyTooLarge(LARGE.format(most=room.most, advice=room.advice))
        whole = not message.get("more_body", False)
        return message

    return bounded


def names_of(hosts: Iterable[str], listens_on: str) -> tuple[str, ...]:
    """The service's names: those that are set, else this machine's own if nobody else can reach it."""
    named = tuple(hosts)
    if named:
        return named
    return (*LOOPBACK, listens_on) if _is_loopback(listens_on) else (ANY,)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _without_port(name: str) -> str:
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0]


def _below(name: str, pattern: str) -> bool:
    return pattern.startswith("*.") and name.endswith(pattern[1:]) and len(name) > len(pattern) - 1
