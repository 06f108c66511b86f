"""One served table: a request becomes a question, a path, rows, and an answer."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.responses import Response

from service.cache.entries import Held
from service.contract.choose import Choice
from service.contract.path import Path
from service.contract.question import Question
from service.contract.served import ready, served
from service.db import Database, Model, Repository, Surface
from service.db.answers import Once
from service.db.declared import line_of
from service.db.version import VERSION, Match, version_of
from service.db.wire import Wire, render, wire
from service.errors import InvalidBody, SetupError
from service.http import openapi
from service.http.asking import Asking, Parameters, ask, ask_members, fingerprint, invalid, parameters_of
from service.http.bodies import rows_of, values_of
from service.http.callers import Caller, caller_of
from service.http.confining import Confining, Rows, missing
from service.http.counts import alike, counted
from service.http.etags import HEADER as ETAG
from service.http.etags import Demanded, of_content, of_list, view_of
from service.http.reading import NO_HEADERS, Answer, Reader, link, opened, sealed
from service.http.schema import Schema
from service.http.showing import Showing
from service.http.telling import answered, placed_at, refused, told
from service.http.uses import Service, service_of
from service.http.writing import Writer
from service.plans.ledger import Ledger
from service.settings import Settings

LANED = "__laned__"
"""Where the endpoint of a route says which table it lists, reads a row of or adds one to, for the express lane."""
TAKES = "__takes__"
"""Where an endpoint that adds a row says what a body must be."""


@dataclass(frozen=True)
class Table:
    """One served table: what its routes share.

    Attributes:
        cached: for how many seconds its answers are kept at the most; None: they aren't.
    """

    repository: type[Repository[Any]]
    of: Surface
    showing: Showing
    confining: Confining
    demands: Demanded | None = None
    cached: float | None = None

    def asked(self, request: Request, parameters: Parameters | None = None, rows: Rows | None = None) -> tuple[Asking, Choice]:
        """What a list route was asked, and the path for it.

        Args:
            request: of somebody who may see all rows, or some.
            parameters: those of the question; by default all of the URL.
            rows: those that may be seen; by default what the request's method says.

        Raises:
            Problem: as `understood`.
        """
        given = parameters_of(request.scope["query_string"]) if parameters is None else parameters
        service = service_of(request)
        return self.understood(
            given, self.seen(request) if rows is None else rows, service.database, service.settings, service.ledger
        )

    def understood(
        self, parameters: Parameters, rows: Rows, database: Database, settings: Settings, ledger: Ledger | None = None
    ) -> tuple[Asking, Choice]:
        """What is asked of a list, and the path for it, of those that the database has.

        Args:
            parameters: as they stand in a URL, decoded.
            rows: those that may be seen.
            database: what is asked.
            settings: the limits.
            ledger: where a refusal is counted.

        Raises:
            InvalidQuestion: a parameter can't be understood.
            Forbidden: it speaks of rows that the key is not confined to.
            NotServed: no path serves it.
            IndexNotReady: the paths that serve it are withdrawn.
        """
        asking = ask(self.of, parameters, settings, self.showing.members, self.showing.relations)
        asking.question, of = rows.question(asking.question), self.asked_of(rows)
        choice = self._chosen(database, asking.question, of)
        if choice is None:
            if ledger:
                ledger.count(of.contract, asking.question)
            raise refused(of, asking.question, rows.values)
        return asking, choice

    def asked_of(self, rows: Rows) -> Surface:
        """What a question is put to, of somebody who may see these rows."""
        return self.confining.of if rows else self.of

    def _chosen(self, database: Database, question: Question, of: Surface) -> Choice | None:
        """The path for a question, of those that the database has; None where none was ever declared."""
        return database.catalogue.chosen(of.contract, question, self._line)

    def _line(self, path: Path) -> Mapping[str, Any]:
        """The line of the model that declares a path, where clients may see all that it names."""
        shown = path.include <= self.of.expressions.keys()
        return {"index": line_of(self.repository.model, path.name)} if shown else {}

    def rows(self, request: Request) -> Repository[Any]:
        """The repository, over the application's database."""
        return service_of(request).repository(self.repository)

    def reader(self, request: Request) -> Reader:
        """What reads the table for the application."""
        return self.reader_of(service_of(request))

    def writer(self, request: Request) -> Writer:
        """What writes the table for the application, where one statement is enough."""
        return self.writer_of(service_of(request))

    def writer_of(self, service: Service) -> Writer:
        """What writes the table for a service."""
        name = self.of.contract.table
        found = service.writers.get(name)
        if found is None:
            found = service.writers[name] = Writer(self.repository, self.of, self.showing, service.database)
        return found

    def reader_of(self, service: Service) -> Reader:
        """What reads the table for a service."""
        name = self.of.contract.table
        found = service.readers.get(name)
        if found is None:
            found = service.readers[name] = Reader(
                self.of, self.showing, service.database, service.signer, service.settings, etags=service.etags, cache=service.cache
            )
        return found

    def seen(self, request: Request) -> Rows:
        """The rows that a request may see and change."""
        return self.confining.rows(caller_of(request.scope), request.method)

    def key(self, request: Request) -> Any:
        """The primary key in a route's path.

        Raises:
            InvalidQuestion: it isn't of the key's type.
        """
        name = self.of.primary
        try:
            return self.form.parse(str(request.path_params[name]))
        except ValueError as error:
            raise invalid(name, str(error)) from None

    @property
    def path(self) -> str:
        """The path of one row: `/{id}`."""
        return f"/{{{self.of.primary}}}"

    @property
    def form(self) -> Wire:
        """How the primary key is written."""
        form = wire(self.of.type_of(self.of.primary))
        if form is None:
            raise SetupError(f"The primary key of {self.of.contract.table} has a type that can't stand in a URL.")
        return form

    async def page(self, request: Request) -> Response:
        """One page of a question."""
        if not self.seen(request):
            found = await self.reader(request).page(request.url.path, request.scope["query_string"])
            if found:
                return told(request, found)
        asking, choice = self.asked(request)
        service = service_of(request)
        seen, related = self.seen(request), self.confining.related(caller_of(request.scope), asking.include)
        bound = seen.bound(fingerprint(self.asked_of(seen), asking.question, choice.order))
        after, rows = _after(service, self.of, asking.cursor, choice, bound), self.rows(request)

        async def load() -> Held:
            page = await rows.ask(
                asking.question,
                choice,
                asking.limit,
                after=after,
                columns=self.showing.columns(asking.fields, asking.include),
                include=self.showing.attributes(asking.include),
                search_most=service.settings.search_most,
            )
            following = None if page.last is None else sealed(service.signer, self.of, choice, bound, page.last)
            data = [self.showing.row(row, asking.fields, related) for row in page]
            content: dict[str, Any] = {"data": data, "next": following}
            if asking.count != "none":
                content["count"] = await counted(rows, asking, choice, service.settings.count_most, page.found)
            body = render(content)
            return Held(body, of_list(body), (following or "").encode())

        if seen or asking.count == "none" or asking.include or choice.kind == "search" or not self.showing.plain:
            held, headers = await load(), NO_HEADERS
        else:
            seed, asked = alike(self.of, self.showing, asking, choice, service.settings.count_most), (asking.question, choice)
            held, headers = await self.reader(request).through(seed, asked, lambda: (asking.question, after), load)
        if held.cursor:
            headers = {**link(request.url.path, request.scope["query_string"], held.cursor.decode()), **headers}
        return told(request, Answer(held.body or b"", headers, held.etag))

    async def single(self, request: Request) -> Response:
        """One row by its primary key."""
        if not self.seen(request):
            found = await self.reader(request).single(str(request.path_params[self.of.primary]), request.scope["query_string"])
            if found:
                return told(request, found)
        key = self.key(request)
        parameters = parameters_of(request.scope["query_string"])
        fields, include = ask_members(parameters, self.showing.members, self.showing.relations)
        question = Question({self.of.primary: key})
        choice = self._chosen(service_of(request).database, question, self.of)
        if choice is None:
            raise SetupError(f"{self.of.contract.table} has a primary key that clients can't see.")
        seen, related = self.seen(request), self.confining.related(caller_of(request.scope), include)
        columns = (shown := self.showing.columns(fields, include)) and [*shown, *seen.values, *VERSION]
        rows = await self.rows(request).ask(question, choice, 1, columns=columns, include=self.showing.attributes(include))
        if not rows or seen.hide(rows[0]):
            raise missing(self.of.contract.name, key)
        body = render(self.showing.row(rows[0], fields, related))
        respelt = not self.showing.respelt.isdisjoint(fields or self.showing.members)
        view = of_content(body) if include or respelt else self._view(rows[0], fields)
        return told(request, Answer(body, etag=service_of(request).etags.row(version_of(rows[0]), view)))

    def etag(self, service: Service, row: Model) -> str:
        """The ETag of a row that is shown whole."""
        return service.etags.row(version_of(row), self._view(row)).decode()

    def _view(self, row: Model, fields: Sequence[str] | None = None) -> bytes:
        if self.showing.plain:
            return view_of(self.showing.shape, tuple(fields or self.showing.members))
        return of_content(render(self.showing.row(row, fields)))

    def match(self, request: Request, *, demanded: bool = True) -> Match:
        """Which states of a row a request to change it is meant for.

        Args:
            request: what is asked.
            demanded: whether it has to say so, where the table demands it.

        Raises:
            PreconditionRequired: it has to, and doesn't.
            InvalidQuestion: what it says can't be understood.
        """
        table = self.of.contract.name
        return service_of(request).etags.match(request.scope, table, demanded=demanded and self.demands is not None)

    async def create(self, request: Request, body: Schema) -> Response:
        """Insert a row."""
        values = self.placed(caller_of(request.scope), body)
        service = service_of(request)
        made = await self.insert(service, request.url.path, values)
        if made:
            return Response(made.body, 201, {**made.headers, ETAG: made.etag.decode()}, "application/json")
        row = await self.rows(request).create(**values)
        headers = placed_at(request.url.path, getattr(row, self.of.primary)) | {ETAG: self.etag(service, row)}
        return answered(self.showing.row(row), 201, headers)

    def placed(self, caller: Caller, body: Schema) -> dict[str, Any]:
        """The values of a new row, as far as they are sent, among the rows that a caller may write.

        Raises:
            InvalidBody: values that don't fit their columns.
            Forbidden: it wouldn't be one of those rows.
        """
        return self.confining.rows(caller, "POST").placed(values_of(self.repository.model, body), self.of.primary)

    async def insert(self, service: Service, path: str, values: Mapping[str, Any], once: Once | None = None) -> Answer | None:
        """Insert a row by one statement, and answer it; None where that takes a unit of work.

        Args:
            service: what writes.
            path: of the URL to which the row was sent.
            values: of the row.
            once: what the answer is kept under, so that it is done once.

        Raises:
            Problem: the database refuses a value, or is away, busy or slow.
        """
        writer, view = self.writer_of(service), view_of(self.showing.shape, self.showing.members)
        made = await (writer.create_once(values, once, f"{path}/", view.decode()) if once else writer.create(values))
        return Answer(made.data.encode(), placed_at(path, made.key), service.etags.row(made.version, view)) if made else None

    async def batch(self, request: Request, bodies: Sequence[Schema]) -> Response:
        """Insert rows, all or none."""
        most = service_of(request).settings.batch_most
        if len(bodies) > most:
            raise InvalidBody(f"A batch may hold {most} rows, this one has {len(bodies)}. Send several.")
        seen = self.seen(request)
        given = [seen.placed(values, self.of.primary) for values in rows_of(self.repository.model, bodies)]
        rows = await self.rows(request).batch(given)
        return answered({"data": [self.showing.row(row) for row in rows]}, 201)

    async def change(self, request: Request, body: Schema) -> Response:
        """Change a row's values."""
        key, values, seen, rows = self.key(request), values_of(self.repository.model, body), self.seen(request), self.rows(request)
        match, service = self.match(request), service_of(request)
        seen.check(values)
        version = None if seen else await self.writer(request).change(key, values, match)
        if version:
            etag = service.etags.row(version, view_of(self.showing.shape, self.showing.members))
            return Response(None, 204, {ETAG: etag.decode()})
        async with self.held(rows, key, seen, match):
            row = await rows.change(key, **values)
        return Response(None, 204, {ETAG: self.etag(service, row)} if isinstance(row, Model) else None)

    async def delete(self, request: Request) -> Response:
        """Delete a row."""
        key, seen, rows, match = self.key(request), self.seen(request), self.rows(request), self.match(request)
        if not seen and await self.writer(request).delete(key, match):
            return Response(status_code=204)
        async with self.held(rows, key, seen, match):
            await rows.delete(key)
        return Response(status_code=204)

    @asynccontextmanager
    async def held(self, rows: Repository[Any], key: Any, seen: Rows, match: Match) -> AsyncIterator[None]:
        """Change a row in the unit of work that saw that the caller may, and that it is as they think; else without one."""
        if not seen and not match:
            yield
            return
        async with rows.database.writing():
            await self.confining.hold(rows.database, key, seen, match)
            yield

    def contract(self, request: Request) -> dict[str, Any]:
        """What the table answers, as JSON, and which of it isn't ready."""
        left = service_of(request).database.catalogue.available(self.of.contract)
        return {
            "table": self.of.contract.name,
            "default_order": [str(sort) for sort in self.of.contract.default_order],
            "questions": [openapi.described(one, ready(left, self.of.contract, one)) for one in served(self.of.contract)],
        }


def _after(service: Service, of: Surface, cursor: str | None, choice: Choice, bound: bytes) -> list[Any] | None:
    return None if cursor is None else list(opened(service.signer, of, choice, bound, cursor).values())
