"""A body that is a file goes into the spool as it comes: a chunk in memory, and no connection held while the client is waited for.

It is one part of a multipart body, or the body itself. While it is on its way it is an unsealed file, which expires; so does one
whose client has left.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from hashlib import sha256

from starlette.requests import ClientDisconnect, Request

from service.errors import MalformedUpload, Problem, SlowBody, UnsupportedMediaType
from service.http.callers import caller_of
from service.http.multipart import FORM, OneFile, media_type
from service.http.room import Room
from service.jobs.opening import Format
from service.jobs.quota import UPLOAD, Allowance, Quota
from service.jobs.spool import CHUNK_BYTES, FileGone, Spool
from service.settings import Settings

KINDS: dict[str, Format | None] = {
    "text/csv": "csv",
    "text/tab-separated-values": "csv",
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/gzip": None,
    "application/x-gzip": None,
    "application/octet-stream": None,
    "text/plain": None,
}
"""The media types of a body that is a file, and the format that each means."""
Add = Callable[[bytes], Awaitable[None]]
PACE_BYTES = 64 * 1024
ADVICE = "Compress it (gzip), or divide it."
READS = f"Send the file as {FORM}, or as the body itself, with one of these as its Content-Type: {', '.join(KINDS)}."


def room(settings: Settings) -> Room:
    """The room of a route that takes files."""
    return Room(settings.upload_bytes_most, settings.body_seconds, PACE_BYTES, ADVICE)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived.

    Attributes:
        file: its id in the spool, where it isn't sealed yet.
        name: what the client calls it; empty: nothing.
        kind: its media type; empty: none was said.
        digest: the SHA-256 of its bytes.
    """

    file: int
    name: str
    kind: str
    digest: bytes


def check_kind(request: Request) -> str:
    """The media type of a body that may be a file, or hold one.

    Raises:
        UnsupportedMediaType: it is another one.
    """
    kind = media_type(request.headers.get("content-type", ""))
    if kind != FORM and kind not in KINDS:
        raise UnsupportedMediaType(READS)
    return kind


@asynccontextmanager
async def uploaded(request: Request, spool: Spool, quota: Quota) -> AsyncIterator[Upload]:
    """The file of a request's body, in the spool. Unless the block seals it, it expires.

    Raises:
        UnsupportedMediaType: it isn't sent as a file.
        TooManyRequests: the key has too many jobs, or has sent too much. Where that can be known, nothing of the body was read.
        MalformedUpload: the body isn't whole, or holds something else than a file.
        SlowBody: it stood still for too long.
    """
    kind, asked_by = check_kind(request), caller_of(request.scope).key
    parts = OneFile(request.headers["content-type"]) if kind == FORM else None
    async with spool.database.writing() as unit:
        allowance = await quota.admit(unit.session, asked_by)
        allowance.check(int(request.headers.get("content-length", 1)))
        file = await spool.open("", UPLOAD, asked_by=asked_by)
    try:
        digest = await _received(request, partial(_added, spool, quota, asked_by, file), parts, allowance)
        yield Upload(file, parts.name if parts else "", parts.kind if parts else kind, digest)
    except FileGone:
        raise SlowBody("The file stood still for so long that its beginning is gone. Send it again, all at once.") from None
    except BaseException:
        with suppress(Problem):
            await spool.abandon(file)  # an upload that failed doesn't count among those under way
        raise


async def _added(spool: Spool, quota: Quota, asked_by: str, file: int, data: bytes) -> None:
    """Add to a file, as far as its key may: others of its files are on their way too."""

    async def add() -> None:
        async with spool.database.writing() as unit:
            await quota.check(unit.session, asked_by, len(data))
            await spool.append(file, data)

    await spool.database.attempt(add)


async def _received(request: Request, add: Add, parts: OneFile | None, allowance: Allowance) -> bytes:
    """Put a body into a file of the spool, part by part; the digest of the file."""
    digest, held, size = sha256(), list[bytes](), 0
    try:
        async for data in request.stream():
            content = parts.feed(data) if parts else data
            digest.update(content)
            allowance.take(len(content))
            held.append(content)
            size += len(content)
            if size >= CHUNK_BYTES:
                whole = b"".join(held)
                await add(whole[:CHUNK_BYTES])
                held, size = [whole[CHUNK_BYTES:]], size - CHUNK_BYTES
    except ClientDisconnect:
        raise MalformedUpload("The body ended before it was whole. Send it again.") from None
    if parts:
        parts.end()
    if size:
        await add(b"".join(held))
    return digest.digest()
