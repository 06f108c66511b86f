"""What the service says no with: sentences for people, and what to do next.

A `Problem` reaches an API's client as RFC 9457 problem+json; its `slug` names the page under docs/problems/ that explains it. A
`SetupError` reaches the person who runs a command. Both live at the bottom of the tree, so that any layer may raise them.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class ShelfmarkError(Exception):
    """Anything the service refuses with a sentence of its own."""


class SetupError(ShelfmarkError):
    """The service can't run like this: a setting, a server or a model is wrong. Commands print it and exit with 2."""


class Problem(ShelfmarkError):
    """A refusal for the client of the API.

    Attributes:
        slug: the last part of the problem's type, and the name of its page.
        title: the same for every problem of this type.
        status: the HTTP status.
        detail: what happened this time, and what to do next.
        extra: further members of the problem document, as JSON-ready values.
        retry_after: seconds after which the same request may succeed, for the header; None where waiting doesn't help.
        headers: further headers of the answer.
    """

    slug: ClassVar[str]
    title: ClassVar[str]
    status: ClassVar[int]
    retry_after: int | None = None
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: Mapping[str, Any] = extra


class NotServed(Problem):
    """A question that no index answers."""

    slug, title, status = "not-served", "No index serves this question", 400


class MalformedBody(Problem):
    """A body that can't be read at all."""

    slug, title, status = "malformed-body", "The body is not JSON", 400


class MalformedUpload(Problem):
    """A body that should hold one file, and doesn't."""

    slug, title, status = "malformed-upload", "The upload can't be read", 400


class Unauthorized(Problem):
    """No API key, or none that the service knows."""

    slug, title, status = "unauthorized", "An API key is needed", 401
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(Problem):
    """A key that may not do this."""

    slug, title, status = "forbidden", "This key may not do that", 403


class NotFound(Problem):
    """No such row, or no such route."""

    slug, title, status = "not-found", "Nothing is there", 404


class MethodNotAllowed(Problem):
    """The route exists, the verb doesn't."""

    slug, title, status = "method-not-allowed", "This route has no such method", 405


class Conflict(Problem):
    """Another row stands where this one wants to."""

    slug, title, status = "conflict", "Another row stands in the way", 409


class StillRunning(Problem):
    """A request is sent again while the first one with its idempotency key still runs."""

    slug, title, status, retry_after = "still-running", "The first request still runs", 409, 1


class JobEnded(Problem):
    """A job that is to be cancelled, and has ended."""

    slug, title, status = "job-ended", "The job has ended", 409


class SlowBody(Problem):
    """A body that doesn't arrive."""

    slug, title, status = "slow-body", "The body took too long", 408
    headers = MappingProxyType({"Connection": "close"})


class PreconditionFailed(Problem):
    """A row that isn't in the state that the request is meant for."""

    slug, title, status = "precondition-failed", "The row is in another state", 412


class BodyTooLarge(Problem):
    """A body of more bytes than the service reads."""

    slug, title, status = "body-too-large", "The body is too large", 413


class UnsupportedMediaType(Problem):
    """A body in a format that the route doesn't read."""

    slug, title, status = "unsupported-media-type", "This route reads another format", 415


class UnknownHost(Problem):
    """A request for a name that isn't the service's."""

    slug, title, status = "unknown-host", "The service has another name", 421


class InvalidQuestion(Problem):
    """A parameter that can't be understood: unknown, of the wrong type, out of range."""

    slug, title, status = "invalid-question", "A parameter can't be understood", 422


class TooManyMatches(Problem):
    """A search that finds more rows than a search may find, or takes too long to know."""

    slug, title, status = "too-many-matches", "The search finds too much", 422


class TooManyRows(Problem):
    """A question with more rows than are streamed."""

    slug, title, status = "too-many-rows", "There are too many rows to stream", 422


class InvalidCursor(Problem):
    """A cursor that is damaged, expired, or was given for another question."""

    slug, title, status = "invalid-cursor", "This cursor can't be used here", 422


class InvalidBody(Problem):
    """JSON that doesn't have the shape that the route takes."""

    slug, title, status = "invalid-body", "The body doesn't have the right shape", 422


class IdempotencyKeyReused(Problem):
    """An idempotency key that came with another request before."""

    slug, title, status = "idempotency-key-reused", "This idempotency key belongs to another request", 422


class ValueRefused(Problem):
    """A value of the right shape that the database refuses: a check, a missing reference, a range."""

    slug, title, status = "value-refused", "The database refuses a value", 422


class PreconditionRequired(Problem):
    """A write that doesn't say which state of the row it is meant for, where it must."""

    slug, title, status = "precondition-required", "Say which state of the row is meant", 428


class TooManyRequests(Problem):
    """More requests than a key, or an address, may make."""

    slug, title, status = "too-many-requests", "Too many requests", 429

    def __init__(self, detail: str, retry_after: int, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.retry_after = retry_after


class Internal(Problem):
    """A fault of the service. The client learns the request's id, the log has the rest."""

    slug, title, status = "internal", "The service made a mistake", 500


class Unavailable(Problem):
    """The database is away, or asks for patience."""

    slug, title, status, retry_after = "unavailable", "The database isn't ready", 503, 1


class IndexNotReady(Problem):
    """The index that something needs is missing in the database, incomplete, or another than the model's: nothing was read."""

    slug, title, status, retry_after = "index-not-ready", "An index isn't ready", 503, 2


class Overloaded(Problem):
    """No connection became free in time."""

    slug, title, status, retry_after = "overloaded", "The service is busy", 503, 1


class TimedOut(Problem):
    """The database stopped the statement at its time limit."""

    slug, title, status, retry_after = "timed-out", "It took too long", 503, 1


class StorageFull(Problem):
    """The database's disk is full: reads go on, writes don't."""

    slug, title, status, retry_after = "storage-full", "The database's disk is full", 507, 60
