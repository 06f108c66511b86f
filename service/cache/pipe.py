"""One connection to Redis. What a turn of the event loop asks goes together: a cache must cost less than what it saves.

Keys that are wanted in one turn are fetched by one MGET, each once; other commands go behind it. Redis slow or gone is no
error: what is asked gets None. An answer that takes longer than `GIVE_UP_SECONDS` breaks the connection off. If it can't be made
anew at once, nobody waits for Redis for `REST_SECONDS`.
"""

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha1
from typing import Any, cast

import hiredis
import structlog
from redis.asyncio.connection import SSLConnection, parse_url

GIVE_UP_SECONDS = 0.05
REST_SECONDS = 0.5
CONNECT_SECONDS = 2.0
GRACE_SECONDS = 0.005
KEYS_MOST = 2000
"""Keys of one MGET: Redis serves nobody else meanwhile."""
Command = Sequence[bytes]
Values = list[bytes | None]
_packed: Callable[[tuple[bytes, ...]], bytes] = cast("Any", hiredis.pack_command)  # its types know of one word only
Take = Callable[[Any], None]
"""Takes an answer."""
log = structlog.get_logger(__name__)


class Script:
    """A script of Redis, called by its hash; whoever has it not is given it."""

    def __init__(self, source: str) -> None:
        self.source = source.encode()
        self.hash = sha1(self.source, usedforsecurity=False).hexdigest().encode()


class Pipe:
    """One connection, and what waits for it.

    Args:
        url: of the Redis.
        give_up_seconds: how long an answer may take.

    Attributes:
        given_up: how often the connection was broken off, since Redis didn't answer in time or was gone.
    """

    def __init__(self, url: str, give_up_seconds: float = GIVE_UP_SECONDS) -> None:
        self._options: dict[str, Any] = dict(parse_url(url))
        self._give_up = give_up_seconds
        self._line: _Line | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._rests_until = 0.0
        self._wanted = _Wanted()
        self._commands: list[tuple[Command, Take]] = []
        self._due = self._hopeful = False
        self.given_up = 0
        self.closed = False

    @property
    def open(self) -> bool:
        """Whether Redis can be asked. Where it can't, it is called again in the background."""
        if self._line is not None:
            return True
        if self._connecting is None and not self.closed and time.monotonic() >= self._rests_until:
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        return False

    @property
    def resting(self) -> bool:
        """Whether Redis is left alone."""
        return self._line is None and time.monotonic() < self._rests_until

    async def ready(self) -> bool:
        """Whether Redis can be asked; where the connection has just been lost, after waiting a moment for another one."""
        if not self.open and self._hopeful and self._connecting:
            await asyncio.wait([self._connecting], timeout=self._give_up)
            self._hopeful = False
        return self._line is not None

    async def fetch(self, keys: Sequence[bytes]) -> Values | None:
        """The values of keys, as they are at one moment; None where Redis doesn't say."""
        if not self.open:
            return None
        if len(self._wanted.places) >= KEYS_MOST:
            self._send_wanted()
        answer: asyncio.Future[Values | None] = asyncio.get_running_loop().create_future()
        self._wanted.add(keys, answer)
        self._soon()
        return await answer

    async def ask(self, *commands: Command) -> list[Any] | None:
        """What Redis answers to commands, in their order; None where it doesn't. A refusal is an exception among the answers."""
        if not self.open:
            return None
        loop = asyncio.get_running_loop()
        answers: list[asyncio.Future[Any]] = [loop.create_future() for _ in commands]
        self._commands += ((command, partial(_tell, answer)) for command, answer in zip(commands, answers, strict=True))
        self._soon()
        found = [await answer for answer in answers]
        return None if LOST in found else found

    async def run(self, script: Script, keys: Sequence[bytes], given: Sequence[bytes]) -> Any:
        """What a script answers; None where Redis doesn't, or can't run it."""
        rest = (b"%d" % len(keys), *keys, *given)
        found = await self.ask((b"EVALSHA", script.hash, *rest))
        if found and isinstance(found[0], hiredis.ReplyError) and str(found[0]).startswith("NOSCRIPT"):
            found = await self.ask((b"EVAL", script.source, *rest))
        return None if found is None or isinstance(found[0], Exception) else found[0]

    async def close(self) -> None:
        """Ask nothing more."""
        self.closed = True
        if self._connecting:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._line:
            self._line.abort()

    def _soon(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        """Send what was wanted in this turn."""
        self._due = False
        self._send_wanted()
        commands, self._commands = self._commands, []
        self._pass_on([command for command, _ in commands], [take for _, take in commands])

    def _send_wanted(self) -> None:
        wanted, self._wanted = self._wanted, _Wanted()
        if wanted.places:
            self._pass_on([(b"MGET", *wanted.places)], [wanted.take])

    def _pass_on(self, commands: Sequence[Command], takes: Sequence[Take]) -> None:
        if self._line:
            self._line.send(commands, takes)
        else:
            for take in takes:
                take(LOST)

    async def _connect(self) -> None:
        """Make the connection; it counts as open once Redis has answered on it."""
        line = None
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                line = await _opened(self._options, self._give_up, self._lost)
            await _greet(line, _hello(self._options))
            self._line = line
        except (OSError, TimeoutError) as error:
            self._hopeful = False
            self._rest(error)
        finally:
            if line and self._line is not line:
                line.abort()
            self._connecting = None

    def _lost(self, line: "_Line", error: Exception | None) -> None:
        """Call again at once; only if that fails, Redis is left alone. Whoever hung up by closing has lost nothing."""
        if self._line is line:
            self._line = None
            if self.closed:
                return
            self.given_up += 1
            log.info("the connection to Redis was lost", cause=repr(error) if error else "it hung up")
            self._hopeful = True
            _ = self.open

    def _rest(self, error: Exception | None) -> None:
        now = time.monotonic()
        if now > self._rests_until + 2 * REST_SECONDS:
            log.warning("Redis doesn't answer: nothing is kept, everything is read", cause=repr(error) if error else "it hung up")
        self._rests_until = now + REST_SECONDS


LOST = object()
"""What is answered where Redis hasn't."""


class _Wanted:
    """The keys of one MGET, and who wants which."""

    def __init__(self) -> None:
        self.places: dict[bytes, int] = {}
        self._who: list[tuple[asyncio.Future[Values | None], list[int]]] = []

    def add(self, keys: Sequence[bytes], answer: "asyncio.Future[Values | None]") -> None:
        """Want keys."""
        places = self.places
        self._who.append((answer, [places.setdefault(key, len(places)) for key in keys]))

    def take(self, found: Any) -> None:
        """Give each what it wants; None where Redis didn't answer, or refused."""
        known = isinstance(found, list)
        for answer, places in self._who:
            if not answer.done():
                answer.set_result([found[place] for place in places] if known else None)


class _Line(asyncio.Protocol):
    """A connection as asyncio has it: answers come in the order of what was asked."""

    def __init__(self, give_up: float, lost: "Callable[[_Line, Exception | None], None]") -> None:
        self._reader = hiredis.Reader()
        self._waiting: deque[tuple[Take, float]] = deque()
        self._give_up, self._lost = give_up, lost
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None
        self._late: Exception | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def send(self, commands: Sequence[Command], takes: Sequence[Take]) -> None:
        """Send commands; each is told what comes back, or that nothing will."""
        if self._transport is None or self._transport.is_closing():
            for take in takes:
                take(LOST)
            return
        due = time.monotonic() + self._give_up
        self._waiting += ((take, due) for take in takes)
        self._transport.write(b"".join([_packed(tuple(command)) for command in commands]))
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._give_up, self._look)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (found := self._reader.gets()) is not False:
                self._waiting.popleft()[0](found)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer:
            self._timer.cancel()
        waiting, self._waiting = self._waiting, deque()
        for take, _ in waiting:
            take(LOST)
        self._lost(self, exc or self._late)

    def abort(self, error: Exception | None = None) -> None:
        """Break off."""
        self._late = self._late or error
        if self._transport:
            self._transport.abort()

    def _look(self, *, again: bool = False) -> None:
        """See whether an answer is late. Where this process is late itself, what has come meanwhile is read first."""
        self._timer = None
        if not self._waiting:
            return
        loop, left = asyncio.get_running_loop(), self._waiting[0][1] - time.monotonic()
        if left > 0:
            self._timer = loop.call_later(left, self._look)
        elif again:
            self.abort(TimeoutError(f"no answer within {self._give_up * 1000:.0f} ms"))
        else:
            self._timer = loop.call_later(GRACE_SECONDS, lambda: self._look(again=True))


def _tell(answer: "asyncio.Future[Any]", found: Any) -> None:
    if not answer.done():
        answer.set_result(found)


async def _greet(line: _Line, words: Sequence[Command]) -> None:
    """Say who is there, and wait for the answers.

    Raises:
        ConnectionError: Redis refuses, or says nothing.
    """
    answers: list[asyncio.Future[Any]] = [asyncio.get_running_loop().create_future() for _ in words]
    line.send(words, [partial(_tell, answer) for answer in answers])
    for answer in answers:
        found = await answer
        if found is LOST or isinstance(found, Exception):
            raise ConnectionError("it says nothing" if found is LOST else str(found))


async def _opened(options: dict[str, Any], give_up: float, lost: "Callable[[_Line, Exception | None], None]") -> _Line:
    """A connection to where a URL leads."""
    loop = asyncio.get_running_loop()
    if "path" in options:
        _, line = await loop.create_unix_connection(lambda: _Line(give_up, lost), options["path"])
        return line
    secure = _secure(options) if options.get("connection_class") is SSLConnection else None
    host, port = options.get("host", "localhost"), options.get("port", 6379)
    _, line = await loop.create_connection(lambda: _Line(give_up, lost), host, port, ssl=secure)
    return line


def _secure(options: dict[str, Any]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    if options.get("ssl_cert_reqs") == "none":
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _hello(options: dict[str, Any]) -> Sequence[Command]:
    """What is said first."""
    words: list[Command] = []
    if options.get("password"):
        name = [str(options["username"]).encode()] if options.get("username") else []
        words.append((b"AUTH", *name, str(options["password"]).encode()))
    words += [(b"SELECT", b"%d" % int(options["db"]))] if options.get("db") else []
    return [*words, (b"CLIENT", b"SETNAME", b"shelfmark-cache"), (b"PING",)]
