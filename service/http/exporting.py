"""All rows of a question as a file: `GET /v1/books.csv?author_id=7` streams them, as far as they are few.

What a client may ask is what it may ask of the list, but for what makes no sense of a file: pages, counts, relations. How many rows
there are is known before the first byte leaves; a question with more of them is refused, never cut.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

from fastapi import Request
from starlette.responses import Response

from service.db import Repository, Surface
from service.db.searching import SEARCH_MOST
from service.errors import InvalidQuestion, TooManyRows
from service.http.asking import Asking, Parameters, parameters_of
from service.http.openapi import FORMULAS, OF_PAGES
from service.http.streaming import Streaming
from service.http.uses import service_of
from service.jobs.exporting import MEDIA_TYPES, Export, Exporting
from service.jobs.lines import Formulas, Style
from service.jobs.opening import Format

if TYPE_CHECKING:
    from service.http.table import Table

ALL = "a file has all rows of its question, and no others: leave it out"
ALONE = "a file has the rows of one table, with nothing embedded: leave it out"
NO_FORMULAS = "only CSV has formulas: leave it out"
TOO_MANY = (
    "The question has more than {most} rows, the most that are streamed. Export it as a job, by POST {path}:export with the same "
    "parameters; or ask for less."
)


def separated(parameters: Parameters, form: Format) -> tuple[Parameters, Style]:
    """What a list is asked, and how the file is to be written.

    Raises:
        InvalidQuestion: something is asked for that a file hasn't.
    """
    errors = [{"parameter": name, "message": ALONE if name == "include" else ALL} for name, _ in parameters if name in OF_PAGES]
    given = [text for name, text in parameters if name == FORMULAS]
    if given and form != "csv":
        errors.append({"parameter": FORMULAS, "message": NO_FORMULAS})
    elif wrong := one_of(given, get_args(Formulas)):
        errors.append({"parameter": FORMULAS, "message": wrong})
    if errors:
        raise InvalidQuestion("; ".join(f"{error['parameter']}: {error['message']}" for error in errors), errors=errors)
    asked = [(name, text) for name, text in parameters if name != FORMULAS]
    return asked, Style(form, "keep" if given == ["keep"] else "quote")


def one_of(given: Sequence[str], known: Sequence[str]) -> str | None:
    """What is wrong with the values of a parameter that takes one of a few, if it is given."""
    return f"expected {' or '.join(known)}, given once" if len(given) > 1 or not set(given).issubset(known) else None


def export_of(
    table: "Table", rows: Repository[Any], of: Surface, asking: Asking, style: Style, *, search_most: int = SEARCH_MOST
) -> Export:
    """An export of a table, as it shows its rows.

    Args:
        table: whose rows.
        rows: its queries.
        of: what the question is put to.
        asking: what was asked.
        style: how the file is written.
        search_most: rows that a search may find.
    """
    members, showing = asking.fields or table.showing.members, table.showing
    return Export(
        rows, of, asking.question, members, style, lambda row: showing.row(row, members), showing.plain, search_most=search_most
    )


async def stream(table: "Table", request: Request, form: Format) -> Response:
    """A question's rows, as they are read.

    Raises:
        TooManyRows: they are too many.
        Problem: the question isn't served, or its first rows can't be read.
    """
    asked, style = separated(parameters_of(request.scope["query_string"]), form)
    asking, choice = table.asked(request, asked)
    settings, rows = service_of(request).settings, table.rows(request)
    making = Exporting(export_of(table, rows, table.asked_of(table.seen(request)), asking, style, search_most=settings.search_most))
    first = await anext(making)
    headers = {"Content-Disposition": f'attachment; filename="{table.of.contract.table}.{form}"'}
    if first.reached.whole:
        return Response(first.data, 200, headers, MEDIA_TYPES[form])
    if choice.kind == "list" and not (await rows.count(asking.question, choice, settings.stream_most))[1]:
        path = request.url.path.removesuffix(f".{form}")
        raise TooManyRows(TOO_MANY.format(most=settings.stream_most, path=path), most=settings.stream_most)
    return Streaming(first.data, (part.data async for part in making), headers, MEDIA_TYPES[form], seconds=settings.body_seconds)
