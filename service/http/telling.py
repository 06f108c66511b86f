"""What a request is told: rows in the wire format, that a client has them already, where a new row is, what isn't served."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from fastapi import Request
from starlette.responses import Response

from service.contract.question import Question
from service.contract.refusal import refuse
from service.db import Surface
from service.db.wire import render
from service.errors import NotServed
from service.http.confining import EVERY_ROW
from service.http.etags import HEADER as ETAG
from service.http.etags import is_known
from service.http.reading import Answer


def told(request: Request, answer: Answer) -> Response:
    """What was read, or that it is what the client has."""
    etag = {ETAG: answer.etag.decode()}
    if is_known(request.scope, answer.etag):
        return Response(None, 304, etag)
    return Response(answer.body, 200, {**answer.headers, **etag}, "application/json")


def answered(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer in the wire format."""
    return Response(render(content), status, headers, "application/json")


def placed_at(path: str, key: Any) -> dict[str, str]:
    """Where a row is that was created: the header that says so."""
    return {"Location": f"{path}/{quote(str(key), safe='')}"}


def refused(of: Surface, question: Question, given: Mapping[str, Any] = EVERY_ROW) -> NotServed:
    """The refusal of a question that no path serves.

    Args:
        of: what it was put to.
        question: likewise.
        given: what a key that is confined to rows has added to it.
    """
    refusal = refuse(of.contract, question, given)
    line = f" Or give the table this index: {refusal.index}" if refusal.index else ""
    return NotServed(
        f"No index of {of.contract.name} serves {refusal.asked}. Nearest: {refusal.nearest}.{line}",
        asked=refusal.asked,
        nearest=refusal.nearest,
        index=refusal.index,
        served=list(refusal.served),
    )
