"""One served table: a request becomes a question, a path, rows, and an answer."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Request
from starlette.responses import Response

from service.contract.choose import Choice, choose
from service.contract.question import Question
from service.contract.refusal import refuse
from service.contract.served import served
from service.db import Repository, Surface
from service.db.wire import Wire, render, wire
from service.errors import InvalidBody, InvalidCursor, NotFound, NotServed, SetupError
from service.http import openapi
from service.http.asking import Asking, ask, ask_members, dumped, fingerprint, invalid, loaded, parameters_of
from service.http.bodies import rows_of, values_of
from service.http.schema import Schema
from service.http.showing import Showing
from service.http.uses import Service, service_of


@dataclass(frozen=True)
class Table:
    """One served table: what its routes share."""

    repository: type[Repository[Any]]
    of: Surface
    showing: Showing

    def asked(self, request: Request) -> tuple[Asking, Choice]:
        """What a list route was asked, and the path for it.

        Raises:
            InvalidQuestion: a parameter can't be understood.
            NotServed: no path serves it.
        """
        parameters = parameters_of(request.scope["query_string"])
        settings = service_of(request).settings
        asking = ask(self.of, parameters, settings, self.showing.members, self.showing.relations)
        choice = choose(self.of.contract, asking.question)
        if choice is None:
            refusal = refuse(self.of.contract, asking.question)
            line = f" Or give the table this index: {refusal.index}" if refusal.index else ""
            raise NotServed(
                f"No index of {self.of.contract.table} serves {refusal.asked}. Nearest: {refusal.nearest}.{line}",
                asked=refusal.asked,
                nearest=refusal.nearest,
                index=refusal.index,
                served=list(refusal.served),
            )
        return asking, choice

    def rows(self, request: Request) -> Repository[Any]:
        """The repository, over the application's database."""
        return service_of(request).repository(self.repository)

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
        asking, choice = self.asked(request)
        service = service_of(request)
        bound = fingerprint(self.of, asking.question, choice.order)
        rows = self.rows(request)
        page = await rows.ask(
            asking.question,
            choice,
            asking.limit,
            after=self._after(service, asking, choice, bound),
            columns=self.showing.columns(asking.fields, asking.include),
            include=self.showing.attributes(asking.include),
            search_most=service.settings.search_most,
        )
        following = None if page.last is None else self._cursor(service, choice, bound, page.last)
        content: dict[str, Any] = {
            "data": [self.showing.row(row, asking.fields, asking.include) for row in page],
            "next": following,
        }
        if asking.count != "none":
            content["count"] = await _counted(rows, asking, choice, service.settings.count_most, page.found)
        return answered(content, headers=_link(request, following))

    async def single(self, request: Request) -> Response:
        """One row by its primary key."""
        key = self.key(request)
        parameters = parameters_of(request.scope["query_string"])
        fields, include = ask_members(parameters, self.showing.members, self.showing.relations)
        question = Question({self.of.primary: key})
        choice = choose(self.of.contract, question)
        if choice is None:
            raise SetupError(f"{self.of.contract.table} has a primary key that clients can't see.")
        columns, relations = self.showing.columns(fields, include), self.showing.attributes(include)
        found = await self.rows(request).ask(question, choice, 1, columns=columns, include=relations)
        if not found:
            raise NotFound(f"There is no {key!r} in {self.of.contract.table}. It may have been deleted.")
        return answered(self.showing.row(found[0], fields, include))

    async def create(self, request: Request, body: Schema) -> Response:
        """Insert a row."""
        row = await self.rows(request).create(**values_of(self.repository.model, body))
        where = f"{request.url.path}/{quote(str(getattr(row, self.of.primary)), safe='')}"
        return answered(self.showing.row(row), 201, {"Location": where})

    async def batch(self, request: Request, bodies: Sequence[Schema]) -> Response:
        """Insert rows, all or none."""
        most = service_of(request).settings.batch_most
        if len(bodies) > most:
            raise InvalidBody(f"A batch may hold {most} rows, this one has {len(bodies)}. Send several.")
        rows = await self.rows(request).batch(rows_of(self.repository.model, bodies))
        return answered({"data": [self.showing.row(row) for row in rows]}, 201)

    async def change(self, request: Request, body: Schema) -> Response:
        """Change a row's values."""
        await self.rows(request).change(self.key(request), **values_of(self.repository.model, body))
        return Response(status_code=204)

    async def delete(self, request: Request) -> Response:
        """Delete a row."""
        await self.rows(request).delete(self.key(request))
        return Response(status_code=204)

    def _after(self, service: Service, asking: Asking, choice: Choice, bound: bytes) -> list[Any] | None:
        if asking.cursor is None:
            return None
        if choice.kind not in {"list", "search"}:
            raise InvalidCursor("This question has one page. Leave out cursor=.")
        values = service.signer.open(bound, asking.cursor, time.time())
        try:
            return [loaded(self.of, sort.name, value) for sort, value in zip(choice.order, values, strict=True)]
        except ValueError:  # the service signed it: a column had another type then
            raise InvalidCursor("The cursor is from before the table was changed. Begin again without cursor=.") from None

    def _cursor(self, service: Service, choice: Choice, bound: bytes, last: Sequence[Any]) -> str:
        values = [dumped(self.of, sort.name, value) for sort, value in zip(choice.order, last, strict=True)]
        return service.signer.seal(bound, values, time.time())

    def contract(self) -> dict[str, Any]:
        """What the table answers, as JSON."""
        return {
            "table": self.of.contract.table,
            "default_order": [str(sort) for sort in self.of.contract.default_order],
            "questions": [openapi.described(one) for one in served(self.of.contract)],
        }


async def _counted(rows: Repository[Any], asking: Asking, choice: Choice, most: int, found: int | None) -> dict[str, Any]:
    """How many rows the question has, as far as the client asked to know."""
    if asking.count == "estimated":
        return {"value": await rows.estimate(asking.question, choice), "exact": False}
    if found is not None:
        return {"value": min(found, most), "exact": found <= most}
    value, exact = await rows.count(asking.question, choice, most)
    return {"value": value, "exact": exact}


def answered(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the wire format."""
    return Response(render(content), status, headers, "application/json")


def _link(request: Request, cursor: str | None) -> dict[str, str]:
    """The Link header that leads to the next page."""
    if cursor is None:
        return {}
    others = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return {"Link": f'<{request.url.path}?{urlencode([*others, ("cursor", cursor)])}>; rel="next"'}
