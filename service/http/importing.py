"""`POST /v1/books:import`: a file is taken into the spool, and a job imports it.

The file is sealed, the job asked for, and the answer of an idempotency key kept in one transaction, the last of the request.
Whatever happens before it leaves a file that nobody reads, and that expires.
"""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import (
    BodyTooLarge,
    IdempotencyKeyReused,
    InvalidQuestion,
    MalformedUpload,
    Overloaded,
    StillRunning,
    StorageFull,
    TooManyRequests,
    Unavailable,
    UnsupportedMediaType,
)
from service.http.accepted import JobRead, accepted
from service.http.asking import invalid, parameters_of
from service.http.callers import caller_of
from service.http.idempotency import answered_once, once_of
from service.http.multipart import FIELD, FORM
from service.http.problems import responses
from service.http.room import takes
from service.http.route import once_by_itself
from service.http.uploading import KINDS, Upload, check_kind, room, uploaded
from service.http.uses import service_of
from service.jobs.importing import SOURCE_CHARACTERS
from service.jobs.job import How, enqueue
from service.jobs.opening import Format, stem_of
from service.jobs.quota import Quota
from service.jobs.shaping import Import
from service.jobs.spool import Spool
from service.jobs.uploads import import_upload

VERB = ":import"
FORMATS: dict[str, Format] = {"csv": "csv", "ndjson": "ndjson"}
SWITCH = {"true": True, "false": False}
REFUSED = responses(
    MalformedUpload, BodyTooLarge, UnsupportedMediaType, StillRunning, InvalidQuestion, IdempotencyKeyReused, TooManyRequests,
    Overloaded, Unavailable, StorageFull,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """What the URL says of an import.

    Attributes:
        source: where the rows come from; None: the file's name says it.
        form: what the file's lines are; None: its media type, its name or its content says it.
    """

    source: str | None
    form: Format | None
    dry_run: bool


class Importing:
    """The import into one table.

    Args:
        declared: how the table wants it.
        prefix: of the table's path, `/books`.
    """

    def __init__(self, declared: Import, prefix: str) -> None:
        self.declared, self._own = declared, f"{prefix}{VERB}"

    async def take(self, request: Request) -> Response:
        """Take a request's file, and ask for its job."""
        asked, kind = _asked(request, self.declared), check_kind(request)
        once_of(request.scope)  # what is wrong with a key is said before the file is sent
        if kind != FORM and asked.source is None:
            raise invalid("source", "say where the rows come from: a file that is the body itself has no name")
        service = service_of(request)
        spool = Spool.of(service.database, service.settings)
        async with uploaded(request, spool, Quota.of(service.settings)) as upload:
            once = once_of(request.scope, upload.name.encode(errors="replace"), upload.kind.encode(), upload.digest)
            ask = _Asking(self, request, asked, upload, spool)
            response = await answered_once(service, once, ask.job)
            if not ask.done:  # it was sent before
                await spool.release(upload.file)
            return response

    def prefix(self, request: Request) -> str:
        """What stands before every table's path, `/v1`."""
        return request.url.path.removesuffix(self._own)


class _Asking:
    """Asks for the job of a file that has arrived."""

    def __init__(self, of: Importing, request: Request, asked: Asked, upload: Upload, spool: Spool) -> None:
        self._of, self._request, self._asked, self._upload, self._spool = of, request, asked, upload, spool
        self._source = _source(asked.source or stem_of(upload.name))
        self.done = False

    async def job(self) -> Response:
        """In one unit of work: the file is whole, and there is a job for it."""
        upload, asked = self._upload, self._asked
        await self._spool.seal(upload.file, name=upload.name or "upload")
        id_ = await enqueue(
            import_upload,
            How(asked_by=caller_of(self._request.scope).key),
            table=str(self._of.declared.table.name),  # a plain string, unlike SQLAlchemy's
            upload=upload.file,
            source=self._source,
            form=asked.form or KINDS.get(upload.kind),
            dry_run=asked.dry_run,
        )
        self.done = True
        return await accepted(self._spool.database, id_, self._of.prefix(self._request))


def add_import(router: APIRouter, declared: Import) -> None:
    """Give a table's routes one that takes files."""
    name, taking = declared.table.name, Importing(declared, router.prefix)

    @router.post(
        VERB,
        status_code=202,
        summary=f"Import a file into {name}",
        response_model=JobRead,
        responses=REFUSED,
        openapi_extra={"parameters": _parameters(), "requestBody": _body()},
        name=f"{name}_import",
    )
    @takes(room)
    @once_by_itself
    async def importing(request: Request) -> Response:
        """Import a file by a job: rows with a new key are created, those that differ are changed, others stay.

        The answer is the job; its result has the counts, and the rejected records as a file. The same file again changes nothing.
        """
        return await taking.take(request)


def _asked(request: Request, declared: Import) -> Asked:
    """What the URL says.

    Raises:
        InvalidQuestion: something else than it may, or twice.
    """
    given: dict[str, str] = {}
    for name, value in parameters_of(request.scope["query_string"]):
        if name not in {"source", "format", "dry_run"} or name in given:
            raise invalid(name, "this route takes source=, format= and dry_run=, each once")
        given[name] = value
    source = given.get("source")
    if source is None and declared.source is None:
        source = declared.table.name  # its keys are the table's own: the source only names the import
    form = given.get("format")
    if form is not None and form not in FORMATS:
        raise invalid("format", f"it is {' or '.join(FORMATS)}")
    dry_run = given.get("dry_run", "false") or "true"
    if dry_run not in SWITCH:
        raise invalid("dry_run", f"it is {' or '.join(SWITCH)}")
    return Asked(None if source is None else _source(source), FORMATS[form] if form else None, SWITCH[dry_run])


def _source(source: str) -> str:
    source = source.strip()
    if not source or len(source) > SOURCE_CHARACTERS or not source.isprintable():
        raise invalid("source", f"it must have 1 to {SOURCE_CHARACTERS} characters, all of them visible")
    return source


def _parameters() -> list[dict[str, Any]]:
    told = {
        "source": (
            {"type": "string", "maxLength": SOURCE_CHARACTERS},
            "Where the rows come from; else the name of the file says it.",
        ),
        "format": (
            {"type": "string", "enum": list(FORMATS)},
            "What the lines of the file are; else its type, name or content says it.",
        ),
        "dry_run": ({"type": "boolean", "default": False}, "Do everything, keep nothing."),
    }
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
        for name, (schema, description) in told.items()
    ]


def _body() -> dict[str, Any]:
    file = {"type": "string", "format": "binary"}
    form = {"type": "object", "required": [FIELD], "properties": {FIELD: file}}
    return {"required": True, "content": {FORM: {"schema": form}, **{kind: {"schema": file} for kind in KINDS}}}
