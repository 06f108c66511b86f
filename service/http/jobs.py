"""Jobs as clients see them: `/v1/jobs` lists and shows them like any table, cancels them, and streams their progress.

A key that may read jobs sees all of them. Any other key, and every key that is confined to rows, sees and cancels those that it has
asked for itself, as if there were no others. What a job is called with, and how its workers go about it, is shown to nobody:
arguments may hold what others mustn't see.
"""

from dataclasses import dataclass, replace
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.db import surface
from service.errors import JobEnded, NotFound, Problem, TooManyRequests, Unauthorized
from service.http import openapi
from service.http.accepted import JobRead
from service.http.apikeys import AUTHORIZATION
from service.http.callers import Caller, caller_of
from service.http.confining import EVERY_ROW, Confining, Rows, missing
from service.http.following import Following
from service.http.keyring import Keyring
from service.http.limits import Limits
from service.http.problems import responses
from service.http.scopes import WRITE, minds_rows, needed, scope_of
from service.http.serve import BUSY, ONE, Routes, meant, reads
from service.http.showing import Showing
from service.http.sse import EVENTS, Still, Stream
from service.http.table import Table
from service.http.telling import answered
from service.http.uses import service_of
from service.jobs import transitions
from service.jobs.rows import JobRow, JobRows
from service.jobs.watching import Seen

NAME, ASKED_BY, READING = "jobs", "asked_by", "GET"
LAST = b"last-event-id"
DIGITS_MOST = 18
BECAME = {"done": "is done", "failed": "has failed", "cancelled": "was cancelled"}
ENDED = "The job {id} {became} already, so there is nothing to cancel."
STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "The job as it is, then as it changes.", "content": {EVENTS: {"schema": {"type": "string"}}}},
    204: {"description": "It has ended, and the client knows how: don't come back."},
}
LAST_EVENT = {
    "name": "Last-Event-ID",
    "in": "header",
    "required": False,
    "description": "The id of the last event that was read: only what is newer is told.",
    "schema": {"type": "string"},
}


MEMBERS = tuple(JobRead.model_fields)


@dataclass(frozen=True)
class Own(Confining):
    """Which jobs a key sees: all, if it has the scope and isn't confined to rows; else those that it has asked for."""

    own = True

    def rows(self, caller: Caller, method: str) -> Rows:
        """The jobs that a caller may see or change."""
        if not caller.within and needed(NAME, method).open_to(caller.scopes):
            return Rows(caller, EVERY_ROW)
        return Rows(replace(caller, within={ASKED_BY: caller.key}), {ASKED_BY: caller.key})


def _table() -> Table:
    of = surface(JobRow).of(frozenset(MEMBERS))
    return Table(JobRows, of, Showing.of(JobRow, JobRead, {}), Own(JobRow, {}, of))


TABLE = _table()


def jobs() -> APIRouter:
    """The routes."""
    router = Routes(TABLE, f"/{NAME}", writable=False)
    reads(router, TABLE)
    row = openapi.key(TABLE.of, TABLE.form)

    @router.delete(
        TABLE.path,
        summary="Cancel a job",
        status_code=204,
        response_class=Response,
        responses={
            202: {"description": "It runs, and is told to end.", "model": JobRead},
            **ONE,
            **meant(TABLE),
            **responses(JobEnded, *BUSY),
        },
        openapi_extra={"parameters": [row, openapi.if_match(TABLE.demands)]},
        name="jobs_cancel",
    )
    @minds_rows
    async def cancel(request: Request) -> Response:
        """Have a job end: at once if it waits. One that runs ends at its next chunk; what it has committed stays."""
        return await _cancelled(request)

    @router.get(
        f"{TABLE.path}/events",
        summary="Follow a job",
        response_class=Response,
        responses={**STREAM, **ONE, **responses(TooManyRequests, *BUSY)},
        openapi_extra={"parameters": [row, LAST_EVENT]},
        name="jobs_events",
    )
    @minds_rows
    async def events(request: Request) -> Response:
        """Stream a job's states as server-sent events, from the present one to its end. An event's id is the row's version."""
        return await _streamed(request)

    return router


async def _cancelled(request: Request) -> Response:
    id_, caller, database = TABLE.key(request), caller_of(request.scope), service_of(request).database
    seen, match = TABLE.seen(request), TABLE.match(request)
    async with database.writing() as unit:
        try:
            await TABLE.confining.hold(database, id_, seen, match)
        except NotFound:
            if not TABLE.confining.rows(caller, READING):  # it sees the job, and may not cancel it
                scope_of(f"{NAME}:{WRITE}").check(caller)
            raise
        state = await transitions.cancel(unit.session, id_)
        row = await JobRows(database).get(id_)
        if state is None:
            raise JobEnded(ENDED.format(id=id_, became=BECAME[row.state]))
    return Response(status_code=204) if state == "cancelled" else answered(TABLE.showing.row(row), 202)


async def _streamed(request: Request) -> Response:
    id_, caller, state = TABLE.key(request), caller_of(request.scope), request.app.state
    following = cast("Following", state.following)
    seen = await following.find(id_)
    if seen is None or TABLE.seen(request).hide(seen):
        raise missing(NAME, id_)
    fields = request.scope["state"]["fields"]
    known = _number(fields.get(LAST, b""))
    if seen.ended and known == seen.version:
        return Response(status_code=204)
    place = cast("Limits", state.limits).stream(caller.key)
    return Stream(following, seen, known, place, _still(cast("Keyring", state.keyring), fields[AUTHORIZATION]))


def _number(text: bytes) -> int | None:
    """The version in an event's id; None where it is none of ours."""
    return int(text) if text.isdigit() and len(text) <= DIGITS_MOST else None


def _still(keyring: Keyring, header: bytes) -> Still:
    """Whether the bearer of a key may still be told of a job."""

    async def still(seen: Seen) -> bool | None:
        try:
            caller = (await keyring.find(header)).caller
        except Unauthorized:
            return False
        except Problem:
            return None
        return not TABLE.confining.rows(caller, READING).hide(seen)

    return still
