"""`Idempotency-Key`: a POST that is sent again does nothing again, and gets the first answer again.

The answer is kept in the transaction of the write itself, so that it is there exactly if the write is, whatever dies in between.
Only what was committed is kept: after a refusal the same key may be tried with a better body. A key belongs to its API key and
route; the same key with another body is refused, and so is one whose first request still runs.
"""

import re
from collections.abc import Awaitable, Callable, Coroutine
from hashlib import sha256
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from service.db import answers
from service.db.answers import ROW_VERSION, Answer, Once
from service.errors import IdempotencyKeyReused, InvalidQuestion, StillRunning
from service.http.callers import caller_of
from service.http.etags import HEADER as ETAG
from service.http.etags import Etags
from service.http.uses import Service, service_of

HEADER = "Idempotency-Key"
FIELD, KIND = HEADER.lower().encode(), b"content-type"
REPLAYED = {"Idempotency-Replayed": "true"}
KEY = re.compile(r"[\x21-\x7e]{1,255}")
KEPT_HEADERS = ("content-type", "location", "etag")
FIRST_REFUSAL = 400
REUSED = f"This {HEADER} was sent with another request within the last {answers.HOURS} hours. Send a new key with a new request."
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


def once(handle: Handler) -> Handler:
    """A handler of POST requests that does what a key stands for at most once."""

    async def handled(request: Request) -> Response:
        if HEADER not in request.headers:
            return await handle(request)
        key = _key(request.scope)
        what = Once(_identity(request.scope, key), _fingerprint(request.scope, await request.body()))
        return await answered_once(service_of(request), what, lambda: handle(request))

    return handled


class _Refused(Exception):
    """A handler answered with a refusal: the unit of work is rolled back, and nothing kept."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status_code)
        self.response = response


def what_once(scope: Scope, body: bytes) -> Once | None:
    """What a request is to do once; None where it has no key.

    Raises:
        InvalidQuestion: it has several, or one that isn't.
    """
    if FIELD not in scope["state"]["fields"]:
        return None
    return Once(_identity(scope, _key(scope)), _fingerprint(scope, body))


def once_of(scope: Scope, *parts: bytes) -> Once | None:
    """What a request is to do once whose body isn't held; None where it has no key.

    Args:
        scope: the request's.
        parts: what it says besides its URL.

    Raises:
        InvalidQuestion: it has several keys, or one that isn't.
    """
    if not any(name == FIELD for name, _ in scope["headers"]):
        return None
    return Once(_identity(scope, _key(scope)), _hash(scope["query_string"], *parts))


async def answered_once(service: Service, what: Once | None, work: Callable[[], Awaitable[Response]]) -> Response:
    """The answer of a unit of work, or the one that was given before.

    Args:
        service: what works.
        what: is to be done once; None: whenever it is asked for.
        work: what is done, and answered. It may run twice, and only the second one is kept.

    Raises:
        StillRunning: another request of the same key is at it.
        IdempotencyKeyReused: the key came with another request.
    """
    try:
        return await service.database.attempt(lambda: _once(service, what, work) if what else _plainly(service, work))
    except _Refused as refused:
        return refused.response


async def _plainly(service: Service, work: Callable[[], Awaitable[Response]]) -> Response:
    async with service.database.writing():
        return await work()


async def _once(service: Service, what: Once, work: Callable[[], Awaitable[Response]]) -> Response:
    async with service.database.writing() as unit:
        if not await answers.lock(unit.session, what.identity):
            raise StillRunning(answers.RUNNING)
        kept = await answers.find(unit.session, what.identity)
        if kept:
            return _again(kept, what.asked, service.etags)
        response = await work()
        if response.status_code >= FIRST_REFUSAL:
            raise _Refused(response)
        await answers.keep(unit.session, what.identity, _answer(response, what.asked))
        return response


def _key(scope: Scope) -> str:
    """The one key of a request.

    Raises:
        InvalidQuestion: there are several, or it isn't one.
    """
    given: list[str] = [value.decode("latin-1") for name, value in scope["headers"] if name == FIELD]
    if len(given) > 1 or not KEY.fullmatch(given[0]):
        raise InvalidQuestion(f"{HEADER}: send one key of 1 to 255 visible ASCII characters; a random UUID is a good one.")
    return given[0]


def _identity(scope: Scope, key: str) -> bytes:
    """Who asks, of what, under which key: in 32 bytes."""
    return _hash(*(part.encode(errors="surrogateescape") for part in (caller_of(scope).key, scope["method"], scope["path"], key)))


def _fingerprint(scope: Scope, body: bytes) -> bytes:
    """What is asked. Bodies that differ in a byte are different, however alike they are as JSON."""
    kind = next((value for name, value in scope["headers"] if name == KIND), b"")
    return sha256(_hash(scope["query_string"], kind) + body).digest()


def _hash(*parts: bytes) -> bytes:
    """A hash that tells `a, bc` from `ab, c`."""
    whole = sha256()
    for part in parts:
        whole.update(sha256(part).digest())
    return whole.digest()


def _answer(response: Response, asked: bytes) -> Answer:
    headers = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return Answer(asked, response.status_code, headers, bytes(response.body))


def _again(kept: Answer, asked: bytes, etags: Etags) -> Response:
    if kept.asked != asked:
        raise IdempotencyKeyReused(REUSED)
    headers = {**kept.headers, **REPLAYED}
    version = headers.pop(ROW_VERSION, None)
    return Response(kept.body, kept.status, headers | ({ETAG: etags.kept(version)} if version else {}))
