"""`POST /v1/books:export`: a question that the list serves becomes a job, which writes all of its rows into a file.

Whatever the list would refuse is refused before there is a job. The job keeps what was asked, and the values that rows must have
for a key that is confined to some; what is made of that is decided again by whichever worker runs it.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast, get_args

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.contract.choose import Choice
from service.db import Database
from service.errors import (
    IdempotencyKeyReused,
    IndexNotReady,
    InvalidBody,
    InvalidQuestion,
    NotServed,
    Overloaded,
    StillRunning,
    StorageFull,
    TimedOut,
    TooManyRequests,
    Unauthorized,
    Unavailable,
)
from service.http import openapi
from service.http.accepted import JobRead, accepted
from service.http.asking import Parameters, invalid, parameters_of
from service.http.callers import Caller, caller_of
from service.http.confining import READING, Rows
from service.http.exporting import export_of, one_of, separated
from service.http.openapi import FORMAT
from service.http.problems import responses
from service.http.scopes import NO_KEY, READ, minds_rows, needs
from service.http.uses import repository, service_of
from service.jobs.exporting import Export
from service.jobs.job import How, Refused, enqueue
from service.jobs.lines import Style
from service.jobs.opening import Format
from service.jobs.quota import EXPORT, Quota
from service.jobs.spooling import Exports, Wanted, export_question
from service.settings import Settings

if TYPE_CHECKING:
    from service.http.table import Table

VERB, FIELDS = ":export", "fields"
REFUSED = responses(
    NotServed, InvalidQuestion, InvalidBody, StillRunning, IdempotencyKeyReused, TooManyRequests, IndexNotReady, Overloaded,
    TimedOut, Unavailable, StorageFull,
)  # fmt: skip
BODY = "An export takes no body: its question stands in the URL, as a list's does."


def add_export(router: APIRouter, table: "Table") -> None:
    """Give a table's routes one that has its rows exported."""
    name, own = table.of.contract.table, f"{router.prefix}{VERB}"

    @router.post(
        VERB,
        status_code=202,
        summary=f"Export {name} into a file",
        response_model=JobRead,
        responses=REFUSED,
        openapi_extra={"parameters": openapi.exported(table.of, table.showing, None)},
        name=f"{name}_export",
    )
    @needs(f"{name}:{READ}")
    @minds_rows
    async def exporting(request: Request) -> Response:
        """Have a job write all rows of a question that the list serves into a file, however many they are.

        The answer is the job; its result has the link to the file, and says until when it is good.
        """
        return await _asked(table, request, request.url.path.removesuffix(own))


def exports_of(
    tables: Mapping[str, "Table"], database: Database, settings: Settings, section: Callable[[type[Any]], Any]
) -> Exports:
    """What a worker makes of the exports that tables were asked for.

    Args:
        tables: those that are served, by name.
        database: where their rows are.
        settings: the limits.
        section: gives the settings that a table file declares.
    """

    def made(wanted: Wanted) -> tuple[Export, Choice]:
        if wanted.table not in tables:
            raise Refused(f"No table {wanted.table} is served by this version.")
        table = tables[wanted.table]
        rows = _rows(table, wanted.within)
        asking, choice = table.understood(wanted.question, rows, database, settings)
        queries = repository(table.repository, database, section)
        return export_of(table, queries, table.asked_of(rows), asking, wanted.style, search_most=settings.search_most), choice

    return Exports(made)


async def _asked(table: "Table", request: Request, prefix: str) -> Response:
    """Ask for the job of a request's question.

    Raises:
        Unauthorized: no key asks, so nobody could follow the job.
        TooManyRequests: the key has too many jobs, or has had too much exported.
        Problem: the question isn't served.
    """
    caller, service = caller_of(request.scope), service_of(request)
    if not caller.key:
        raise Unauthorized(NO_KEY)
    if await request.body():
        raise InvalidBody(BODY)
    wanted = _wanted(table, request, caller)

    async def ask() -> Response:
        async with service.database.writing() as unit:
            (await Quota.of(service.settings).admit(unit.session, caller.key, EXPORT)).check(1)
            id_ = await enqueue(
                export_question,
                How(asked_by=caller.key),
                table=wanted.table,
                question=list(wanted.question),
                form=wanted.style.format,
                formulas=wanted.style.formulas,
                within=dict(wanted.within),
            )
            return await accepted(service.database, id_, prefix)

    return await service.database.attempt(ask)


def _wanted(table: "Table", request: Request, caller: Caller) -> Wanted:
    """What a request asks for, once it is sure that the list would answer it.

    Raises:
        Problem: it wouldn't.
    """
    parameters, style = _separated(parameters_of(request.scope["query_string"]))
    rows = table.confining.rows(caller, READING)
    asking, _ = table.asked(request, parameters, rows)
    fields = ",".join(asking.fields or table.showing.members)
    question = [*((name, text) for name, text in parameters if name != FIELDS), (FIELDS, fields)]
    of = table.asked_of(rows)
    within = {column: of.dumped(column, value) for column, value in rows.values.items()}
    return Wanted(str(table.of.contract.table), question, style, within)


def _separated(parameters: Parameters) -> tuple[Parameters, Style]:
    """What a list is asked, and how the file is to be written.

    Raises:
        InvalidQuestion: something is asked for that a file hasn't.
    """
    forms = [text for name, text in parameters if name == FORMAT]
    if wrong := one_of(forms, get_args(Format)):
        raise invalid(FORMAT, wrong)
    return separated([one for one in parameters if one[0] != FORMAT], cast("Format", forms[0] if forms else "csv"))


def _rows(table: "Table", within: Mapping[str, Any]) -> Rows:
    """The rows that a job may export, of those that its key was confined to.

    Raises:
        Refused: the table's rows can't be confined like that any more.
    """
    of, known = table.confining.of, set(table.confining.columns.values())
    try:
        values = {column: of.loaded(column, value) for column, value in within.items() if column in known}
    except ValueError:
        values = {}
    if len(values) < len(within):
        raise Refused("The API key was confined to rows in a way that this version of the table doesn't know. Ask for it again.")
    return Rows(Caller(within={name: str(value) for name, value in within.items()}), values)
