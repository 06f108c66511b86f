"""`GET /v1/downloads/{token}`: a file of the spool, to whoever has its link; read chunk by chunk, as fast as the client is."""

from collections.abc import AsyncGenerator
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import Response

from service.errors import NotFound, Unauthorized
from service.http.problems import responses
from service.http.scopes import Declared, open_to_all
from service.http.streaming import Streaming
from service.http.uses import service_of
from service.jobs.links import GONE, ROUTE, Links
from service.jobs.spool import FileGone, Spool, Spooled

KINDS = {
    ".csv": "text/csv; charset=utf-8",
    ".ndjson": "application/x-ndjson",
    ".gz": "application/gzip",
}
OTHER = "application/octet-stream"
FILE: dict[str, dict[str, str]] = {kind: {} for kind in (*KINDS.values(), OTHER)}


def downloads() -> APIRouter:
    """The route."""
    router = APIRouter(route_class=Declared, tags=["jobs"])

    @router.get(
        f"{ROUTE}/{{token}}",
        summary="Download a file",
        response_class=Response,
        responses={200: {"description": "The file.", "content": FILE}, **responses(NotFound, Unauthorized)},
        name="download",
    )
    @open_to_all
    async def download(request: Request, token: str) -> Streaming:
        """Read a file that a job has made. Its result has the link, which is good for as long as the file is kept."""
        service = service_of(request)
        spool, file = Spool.of(service.database, service.settings), Links.of(service.settings).file(token)
        content = _content(spool, file)
        try:
            known = await spool.find(file)
        except FileGone:
            raise NotFound(GONE) from None
        first = await anext(content, b"")
        return Streaming(first, content, _headers(known), _kind(known), seconds=service.settings.body_seconds, size=known.size)

    return router


async def _content(spool: Spool, file: int) -> AsyncGenerator[bytes]:
    """The file, as far as it is there.

    Raises:
        NotFound: it is no more, or not yet.
    """
    try:
        async for data in spool.read(file):
            yield data
    except FileGone:
        raise NotFound(GONE) from None


def _kind(known: Spooled) -> str:
    return next((kind for ending, kind in KINDS.items() if known.name.endswith(ending)), OTHER)


def _headers(known: Spooled) -> dict[str, str]:
    plain = "".join(character if character.isascii() and character not in '"\\' else "_" for character in known.name)
    return {
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(known.name, safe='')}",
        "Cache-Control": "private, no-store",
    }
