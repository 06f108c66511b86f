"""Keys that are known to be good, each for a second after the database said so: what makes a key cost a microsecond.

No key works for longer than `LIFE_SECONDS` without the database confirming it, in any process, so that a revoked one stops within
that time. Keys in use are confirmed ahead of time, all of them by one statement, so that a request only waits for its key when
that wasn't used lately. There is one such statement at a time, and a pause between two, however many keys are asked for: a flood
of wrong keys can't become a flood of statements. While the database is away no key can be confirmed, and requests with one are
answered 503.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field
from time import monotonic
from typing import TypeVar

import structlog

from service.db import Database, keys
from service.db.keys import Living, Signed
from service.errors import Overloaded, Problem, Unauthorized, Unavailable
from service.http.callers import Caller
from service.http.tokens import Signatures, prefix_of

LIFE_SECONDS = 1.0
AHEAD_SECONDS = 0.5
HOT_SECONDS = 10.0
KEPT_SECONDS = 180.0
TOLD_SECONDS = 60.0
PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 1.0
TOGETHER_MOST, KNOWN_MOST, REFUSED_MOST = 200, 10_000, 10_000
NEVER = float("-inf")
BEARER = b"Bearer "
WRONG_KEY = "The service knows no such key: it may be mistyped, expired or revoked. Ask whoever runs the service for another."
CROWDED = "Too many keys are being looked up. Try again in a moment."
UNCONFIRMED = "The database doesn't say whether the key is good. Try again in a moment."
log = structlog.get_logger(__name__)
V = TypeVar("V")


@dataclass(slots=True, eq=False)
class Known:
    """A key that the database has confirmed.

    Attributes:
        until: when it has to be confirmed again; of the process's own clock, like all times here.
        used: its last use.
        told: the last use that the database was told of, and when.
    """

    token: bytes = field(repr=False)
    signed: Signed = field(repr=False)
    caller: Caller
    until: float
    used: float
    told: tuple[float, float] = (NEVER, NEVER)


Outcome = Problem | dict[bytes, Known]
"""What a round found: the keys that are good, or why the database couldn't say."""


@dataclass(slots=True, eq=False)
class _Round:
    """Keys that one statement will ask for: those that nobody knows yet, and those that were good before."""

    wanted: set[bytes] = field(default_factory=set)
    ahead: set[bytes] = field(default_factory=set)
    task: "asyncio.Task[Outcome]" = field(init=False)


class Keyring:
    """The keys that one process knows.

    Attributes:
        known: the header `Authorization` -> its key, for the layer that reads it. Valid only until `Known.until`.
        public: what everybody with a key may do besides.
    """

    def __init__(self, database: Database, signatures: Signatures, public: frozenset[str] = frozenset()) -> None:
        self.known: dict[bytes, Known] = {}
        self.public = public
        self._database, self._signatures = database, signatures
        self._refused: dict[bytes, float] = {}
        self._orphans: set[str] = set()
        self._next: _Round | None = None
        self._tasks: set[asyncio.Task[Outcome]] = set()
        self._turn = asyncio.Lock()
        self._rest = 0.0

    async def find(self, header: bytes) -> Known:
        """The key in a header that isn't known, or was confirmed too long ago.

        Raises:
            Unauthorized: it is none that can be used, whatever the reason.
            Problem: the database can't say.
        """
        scheme, _, token = header.partition(b" ")
        token = token.lstrip(b" ")
        now = monotonic()
        if scheme.lower() != b"bearer" or prefix_of(token) is None or self._refused.get(token, 0.0) > now:
            raise Unauthorized(WRONG_KEY)
        known = self.known.get(BEARER + token)
        if known is None or known.until <= now:
            known = (await self._asked(token)).get(token)
        if known is None:
            raise Unauthorized(WRONG_KEY)
        known.used = now
        return known

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Confirm keys ahead of time, and tell the database of their use, for as long as the block runs."""
        works = (self._ahead, self._tell)
        tasks = [asyncio.create_task(_again_and_again(work), context=Context()) for work in works]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait([*tasks, *self._tasks])
            for known in self.known.values():
                known.told = (known.told[0], NEVER)
            with suppress(Problem, TimeoutError):
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await self._tell()

    async def _asked(self, token: bytes) -> dict[bytes, Known]:
        """What the next statement finds, of all keys that it asked for. There is always room for a key that was good before."""
        this = self._round()
        if BEARER + token in self.known:
            this.ahead.add(token)
        elif len(this.wanted) < TOGETHER_MOST or token in this.wanted:
            this.wanted.add(token)
        else:
            raise Overloaded(CROWDED)
        return await self._outcome(this)

    def _round(self) -> _Round:
        """The keys that the next statement will ask for; more may be put there."""
        if self._next is None:
            self._next = _Round()
            task = asyncio.create_task(self._ask(self._next), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._next.task = task
        return self._next

    async def _outcome(self, this: _Round) -> dict[bytes, Known]:
        """Wait for a statement; others wait for the same one, so it goes on when a client leaves."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                found = await asyncio.shield(this.task)
        except TimeoutError as error:
            raise Unavailable(UNCONFIRMED) from error
        if isinstance(found, Problem):
            raise found
        return found

    async def _ask(self, this: _Round) -> Outcome:
        async with self._turn:
            await asyncio.sleep(max(0.0, self._rest - monotonic()))
            self._next = None
            tokens, began = this.wanted | this.ahead, monotonic()
            try:
                found = await self._living({prefix_of(token) or "" for token in tokens})
            except Problem as problem:
                return problem
            finally:
                self._rest = monotonic() + PAUSE_SECONDS
            return dict(self._sorted(tokens, found, began))

    async def _living(self, prefixes: set[str]) -> dict[str, Living]:
        """Those of some keys that can be used. Asked once more where the connection was lost meanwhile."""
        try:
            async with self._database.aside() as session:
                return await keys.living(session, prefixes)
        except Unavailable:
            async with self._database.aside() as session:
                return await keys.living(session, prefixes)

    def _sorted(self, tokens: set[bytes], found: dict[str, Living], began: float) -> Iterator[tuple[bytes, Known]]:
        """Put each key to the good ones or to the others; those that are good."""
        for token in tokens:
            row = found.get(prefix_of(token) or "")
            known = self.known.get(BEARER + token)
            if (known and row and known.signed == row.signed) or self._signatures.fits(token, row.signed if row else None):
                assert row is not None  # noqa: S101 - nothing fits where nothing was kept
                yield token, self._confirmed(token, known, row, began)
            else:
                self.known.pop(BEARER + token, None)
                _put(self._refused, token, began + LIFE_SECONDS, REFUSED_MOST)
                self._mourn(row)

    def _mourn(self, row: Living | None) -> None:
        """Say once of a key that nobody can use it any more, for want of the secret that signed it."""
        if row and not self._signatures.knows(row.signed.signed_by) and row.signed.prefix not in self._orphans:
            self._orphans.add(row.signed.prefix)
            log.warning("a key is refused: the secret that signed it is not in SHELFMARK_SECRETS", key=row.signed.prefix)

    def _confirmed(self, token: bytes, known: Known | None, row: Living, began: float) -> Known:
        until = began + (LIFE_SECONDS if row.seconds is None else min(LIFE_SECONDS, row.seconds))
        caller = Caller(row.signed.prefix, frozenset(row.scopes) | self.public, row.within, self.public)
        if known is None:
            known = Known(token, row.signed, caller, until, began)
            _put(self.known, BEARER + token, known, KNOWN_MOST)
        known.signed, known.until = row.signed, until
        if known.caller != caller:
            known.caller = caller
        return known

    async def _ahead(self) -> None:
        """Confirm the keys in use before their time is up, and forget those that are in use no more."""
        now = monotonic()
        for header, known in list(self.known.items()):
            if known.used < now - KEPT_SECONDS:
                del self.known[header]
        hot = {known.token for known in self.known.values() if known.used > now - HOT_SECONDS}
        if hot:
            this = self._round()
            this.ahead |= hot
            await self._outcome(this)

    async def _tell(self) -> None:
        """Write down when keys were last used, at most once a minute for each; and sign by the newest secret what an older did."""
        now = monotonic()
        due = [known for known in self.known.values() if known.used > known.told[0] and known.told[1] < now - TOLD_SECONDS]
        for known in due:
            known.told = (known.used, now)
        if not due:
            return
        async with self._database.writing() as unit:
            await keys.tell_used(unit.session, {known.caller.key: now - known.used for known in due})
            for known in due:
                if known.signed.signed_by != self._signatures.newest:
                    await keys.sign_anew(unit.session, self._signatures.sign(known.token), known.signed.signed_by)


async def _again_and_again(work: Callable[[], Awaitable[None]]) -> None:
    """Do some work twice a second, whatever becomes of it."""
    while True:
        await asyncio.sleep(AHEAD_SECONDS)
        try:
            await work()
        except Problem as problem:  # the requests that it was for are told
            log.debug("what is done for API keys has to wait", cause=problem.detail)
        except Exception:
            log.exception("what is done for API keys failed")


def _put(kept: dict[bytes, V], key: bytes, value: V, most: int) -> None:
    """Keep something, in place of the oldest where there is no more room."""
    if len(kept) >= most:
        del kept[next(iter(kept))]
    kept[key] = value
