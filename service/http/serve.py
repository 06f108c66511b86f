"""A repository becomes routes: list, get, create, change, delete, batch, and the contract itself.

A request travels: asking (the URL becomes a question), choosing (a path, or a refusal; no connection has been taken), reading
(a connection for as long as the query takes), telling (rows, next cursor). A write is committed before it is answered.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, get_args

from fastapi import APIRouter, Request
from pydantic import create_model
from starlette.responses import Response

from service.db import Model, Repository, surface
from service.db.surface import undeletable
from service.db.version import Match
from service.errors import (
    Conflict,
    IndexNotReady,
    InvalidBody,
    InvalidCursor,
    InvalidQuestion,
    MalformedBody,
    NotFound,
    NotServed,
    Overloaded,
    PreconditionFailed,
    PreconditionRequired,
    StorageFull,
    TimedOut,
    TooManyMatches,
    TooManyRows,
    Unavailable,
    UnsupportedMediaType,
    ValueRefused,
)
from service.http import openapi
from service.http.confining import DECLARED, Confining
from service.http.etags import HEADER as ETAG
from service.http.etags import Demanded
from service.http.exporting import stream
from service.http.importing import add_import
from service.http.problems import responses
from service.http.route import Route
from service.http.schema import Schema, partial
from service.http.scopes import DOCS, minds_rows, needs
from service.http.showing import Showing
from service.http.spooling import add_export
from service.http.table import LANED, TAKES, Table
from service.http.telling import answered
from service.http.uses import service_of
from service.jobs.exporting import MEDIA_TYPES
from service.jobs.opening import Format
from service.jobs.shaping import Import

BUSY = (IndexNotReady, Overloaded, TimedOut, Unavailable)
SEEN: dict[int | str, dict[str, Any]] = {200: openapi.ETAGGED, 304: openapi.UNCHANGED}
MADE: dict[int | str, dict[str, Any]] = {201: openapi.ETAGGED}
READ = SEEN | responses(NotServed, InvalidQuestion, InvalidCursor, TooManyMatches, *BUSY)
STREAM = responses(NotServed, InvalidQuestion, TooManyMatches, TooManyRows, *BUSY)
WRITE = responses(MalformedBody, Conflict, UnsupportedMediaType, InvalidBody, ValueRefused, StorageFull, *BUSY)
ONE = responses(NotFound, InvalidQuestion)


class Routes(APIRouter):
    """The routes of one table. A table file may add its own."""

    def __init__(self, table: Table, at: str, *, writable: bool) -> None:
        super().__init__(prefix=at, tags=[table.of.contract.name], route_class=_route(table))
        self.table = table
        self.writable = writable
        self._undecided = True

    def settle(self, imports: Mapping[str, Import] = MappingProxyType({})) -> None:
        """Decide whether rows can be deleted, and files imported: known only once every table and import is.

        Args:
            imports: what is declared, by the names of tables.
        """
        if self._undecided and self.writable:
            if not self.undeletable():
                _deletes(self, self.table)
            if declared := imports.get(self.table.of.contract.table):
                add_import(self, declared)
        self._undecided = False

    def wanted(self, request: Request) -> Match:
        """A dependency for acts of one's own: which states of a row a request is meant for.

        Raises:
            PreconditionRequired: the table demands that it says so, and it doesn't.
            InvalidQuestion: what it says can't be understood.
        """
        return self.table.match(request)

    def meant(self, request: Request) -> Match:
        """The same for an act that is open to who doesn't say so, whatever the table demands."""
        return self.table.match(request, demanded=False)

    def etag(self, request: Request, row: Model) -> dict[str, str]:
        """The header that says which state a row is in that one's own route answers, or has made."""
        return {ETAG: self.table.etag(service_of(request), row)}

    def undeletable(self) -> list[str]:
        """Why rows can be created and changed, but not deleted: a sentence for each foreign key that would be scanned for."""
        return undeletable(self.table.repository.model) if self.writable else []


def serve(
    repository: type[Repository[Any]],
    *,
    at: str,
    read: type[Schema],
    write: type[Schema] | None = None,
    include: Mapping[str, type[Schema]] | None = None,
    within: str | Mapping[str, str] | None = None,
    demands: Demanded | None = None,
    cached: float | None = None,
) -> Routes:
    """The routes of a table.

    Args:
        repository: its queries; routes are handed an instance.
        at: the path below /v1: `/books`.
        read: what a client gets back. A column that isn't in it is hidden: no filter, sort or message names it.
        write: what a client sends to create or change a row; None: the table is read only.
        include: relations that `include=` may embed: the name of a many-to-one relationship -> its shape.
        within: the column by which keys may be confined to rows, or what keys name -> the column where they differ. A key that is
            confined by anything else can't be used here.
        demands: `"If-Match"`: who changes or deletes a row has to say which state of it is meant. Acts of a table file's own say so
            by `router.wanted`.
        cached: for how many seconds answers may be kept in Redis; a write has those forgotten that it changes. None: not at all.

    Raises:
        SetupError: a relation is none, no index leads to the rows of a confined key, or the model can't be served.
    """
    visible = frozenset(read.model_fields)
    confining = DECLARED[repository.model] = Confining.by(repository.model, within, visible)
    showing = Showing.of(repository.model, read, include or {})
    table = Table(repository, surface(repository.model).of(visible), showing, confining, demands, cached)
    router = Routes(table, at, writable=write is not None)
    reads(router, table)
    for form in get_args(Format):
        _exports(router, table, form)
    add_export(router, table)
    if write:
        _writes(router, table, write)
    return router


def meant(table: Table) -> dict[int | str, dict[str, Any]]:
    """What a route that changes a row may answer, if that isn't in a state that is meant."""
    return responses(PreconditionFailed, *([PreconditionRequired] if table.demands else []))


def _route(table: Table) -> type[Route]:
    """The kind of route that needs a table's scopes."""

    class Of(Route):
        """A route of the table."""

    Of.table, Of.rows, Of.own = table.of.contract.name, frozenset(table.confining.columns), table.confining.own
    return Of


def reads(router: APIRouter, table: Table) -> None:
    """Add what reads a table: its contract, its list, a row. The express lane isn't for tables of which each key sees its own."""
    name = table.of.contract.name

    @router.get(":contract", summary=f"What {name} answers", response_model=openapi.Contract, name=f"{name}_contract")
    @needs(DOCS)
    @minds_rows
    async def contract(request: Request) -> Response:
        """List every combination of filters and order that is served, with its index, and whether that is ready."""
        return answered(table.contract(request))

    @router.get(
        "",
        summary=f"List {name}",
        description=openapi.listed(table.of),
        response_model=openapi.page(table.showing),
        responses=READ,
        openapi_extra={"parameters": openapi.parameters(table.of, table.showing)},
        name=f"{name}_list",
    )
    @minds_rows
    async def page(request: Request) -> Response:
        return await table.page(request)

    if not table.confining.own:
        setattr(page, LANED, table)

    @router.get(
        table.path,
        summary=f"Get one of {name}",
        response_model=openapi.row(table.showing),
        responses=SEEN | ONE | responses(*BUSY),
        openapi_extra={"parameters": [openapi.key(table.of, table.form), *openapi.members(table.showing), openapi.if_none_match()]},
        name=f"{name}_get",
    )
    @minds_rows
    async def single(request: Request) -> Response:
        """Get a row by its primary key."""
        return await table.single(request)

    if not table.confining.own:
        setattr(single, LANED, table)


def _exports(router: APIRouter, table: Table, form: Format) -> None:
    name = table.of.contract.table
    file: dict[int | str, dict[str, Any]] = {
        200: {"content": {MEDIA_TYPES[form].partition(";")[0]: {"schema": {"type": "string"}}}}
    }

    @router.get(
        f".{form}",
        summary=f"Stream {name} as {form.upper()}",
        response_class=Response,
        responses=file | STREAM,
        openapi_extra={"parameters": openapi.exported(table.of, table.showing, form)},
        name=f"{name}_{form}",
    )
    @minds_rows
    async def export(request: Request) -> Response:
        """All rows of a question that the list serves, as they are read. A question with too many of them is refused."""
        return await stream(table, request, form)


def _writes(router: APIRouter, table: Table, write: type[Schema]) -> None:
    name = table.of.contract.name
    batch = create_model(f"{write.__name__}Batch", __base__=Schema, data=(list[write], ...))  # type: ignore[valid-type]
    change = partial(write)

    @router.post(
        "",
        summary=f"Create one of {name}",
        status_code=201,
        response_model=table.showing.shape,
        responses=MADE | WRITE,
        name=f"{name}_create",
    )
    @minds_rows
    async def create(request: Request, body: write) -> Response:  # type: ignore[valid-type]
        """Create a row. It is committed before this is answered; the answer is what is stored."""
        return await table.create(request, body)

    setattr(create, LANED, table)
    setattr(create, TAKES, write)

    @router.post(
        ":batch",
        summary=f"Create many of {name}, all or none",
        status_code=201,
        response_model=openapi.rows(table.showing),
        responses=WRITE,
        name=f"{name}_batch",
    )
    @minds_rows
    async def create_many(request: Request, body: batch) -> Response:
        """Create rows in one transaction. Where one is refused, none is created, and the problem says which."""
        return await table.batch(request, body.data)  # type: ignore[attr-defined]

    @router.patch(
        table.path,
        summary=f"Change one of {name}",
        status_code=204,
        response_class=Response,
        responses={204: openapi.ETAGGED} | ONE | meant(table) | WRITE,
        openapi_extra={"parameters": [openapi.key(table.of, table.form), openapi.if_match(table.demands)]},
        name=f"{name}_change",
    )
    @minds_rows
    async def alter(request: Request, body: change) -> Response:  # type: ignore[valid-type]
        """Change the members that are sent; the others stay."""
        return await table.change(request, body)


def _deletes(router: APIRouter, table: Table) -> None:
    name = table.of.contract.name

    @router.delete(
        table.path,
        summary=f"Delete one of {name}",
        status_code=204,
        response_class=Response,
        responses=ONE | meant(table) | responses(Conflict, *BUSY),
        openapi_extra={"parameters": [openapi.key(table.of, table.form), openapi.if_match(table.demands)]},
        name=f"{name}_delete",
    )
    @minds_rows
    async def delete(request: Request) -> Response:
        """Delete a row that nothing else refers to."""
        return await table.delete(request)
