"""`POST :import`: a file is taken, and a job asked for and told; or it is refused, and nothing is left but what expires."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response
from sqlalchemy import func, select, update
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database, table_of
from service.errors import Unavailable
from service.http import importing
from service.http.idempotency import answered_once
from service.jobs.files import CHUNKS, FILES, NOW
from service.jobs.quota import sent_of
from service.jobs.rows import JobRow
from service.jobs.spool import CHUNK_BYTES, Spool
from service.settings import Settings
from service.tables.books import Book
from tests.fixtures.application import client_of
from tests.fixtures.jobs import worked_off
from tests.fixtures.keys import ADMIN, bearer, granted
from tests.http.conftest import refused
from tests.waiting import until

PATH = "/v1/books:import"
CSV = {"Content-Type": "text/csv"}
DIRTY = Path(__file__).parents[1] / "jobs" / "dirty.csv"
FILE = b"book_id,title,author\n1,One,Ada\n2,Two,Boris\n"


async def count(database: Database, what: Any) -> int:
    """How many rows a table has."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(what)) or 0


async def nothing_is_left(database: Database) -> bool:
    """Whether no job was asked for, and no file is under way or kept."""
    async with database.reading() as session:
        living = await session.scalar(select(func.count()).select_from(FILES).where(FILES.c.expires_at > NOW))
    return not living and not await count(database, JobRow)


def sent(content: bytes, name: str = "books.csv", kind: str = "text/csv") -> dict[str, Any]:
    """A file in a form."""
    return {"file": (name, content, kind)}


async def parts(*bodies: bytes) -> AsyncIterator[bytes]:
    """A body in parts, whose length isn't said."""
    for body in bodies:
        await asyncio.sleep(0)
        yield body


async def spooled(database: Database, job: Response) -> bytes:
    """The file that a job was asked for with."""
    async with database.reading() as session:
        args = await session.scalar(select(JobRow.args).where(JobRow.id == job.json()["id"])) or {}
    return b"".join([data async for data in Spool(database).read(args["upload"])])


async def test_a_form_with_a_file_becomes_rows(committing_client: AsyncClient, committed: Database, settings: Settings) -> None:
    answer = await committing_client.post(PATH, files=sent(DIRTY.read_bytes(), "dirty.csv"))
    assert answer.status_code == 202
    job = answer.json()
    assert (job["name"], job["state"], job["result"], job["error"]) == ("import", "queued", None, None)
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert await spooled(committed, answer) == DIRTY.read_bytes()
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    async with committed.reading() as session:
        found = (await session.execute(select(JobRow.result, JobRow.asked_by).where(JobRow.id == job["id"]))).one()
    assert (found.result["source"], found.result["inserted"], found.result["rejected"]) == ("dirty", 6, 8)
    assert found.asked_by == "testadmn"
    assert await count(committed, table_of(Book)) == 6
    rejects = await committing_client.get(found.result["rejects"]["link"])
    assert rejects.text.startswith("line,reason,text")
    assert len(rejects.content) == found.result["rejects"]["size"]


LINES = b"".join(b'{"book_id": %d, "title": "%s", "author": "Ada"}\n' % (key, title) for key, title in ((1, b"One"), (2, b"Two")))
BODIES = {
    "csv": (FILE, "text/csv"),
    "a charset": (FILE, "text/csv; charset=utf-8"),
    "bytes": (FILE, "application/octet-stream"),
    "gzip": (gzip.compress(FILE), "application/gzip"),
    "gzip that is called csv": (gzip.compress(FILE), "text/csv"),
    "ndjson": (LINES, "application/x-ndjson"),
    "text": (LINES, "text/plain"),
}


@pytest.mark.parametrize("body", BODIES)
async def test_a_body_that_is_the_file(committing_client: AsyncClient, committed: Database, settings: Settings, body: str) -> None:
    content, kind = BODIES[body]
    pieces = parts(content[:9], content[9:])
    answer = await committing_client.post(f"{PATH}?source=s", content=pieces, headers={"Content-Type": kind})
    assert answer.status_code == 202, answer.text
    assert await spooled(committed, answer) == content
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    async with committed.reading() as session:
        books = await session.execute(select(Book.source, Book.source_key, Book.title).order_by(Book.source_key))
        assert [tuple(book) for book in books] == [("s", "1", "One"), ("s", "2", "Two")]


async def test_the_format_that_is_said_wins(committing_client: AsyncClient, committed: Database, settings: Settings) -> None:
    answer = await committing_client.post(f"{PATH}?format=ndjson", files=sent(LINES, "books.csv"))
    assert answer.status_code == 202
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    assert await count(committed, table_of(Book)) == 2


async def test_a_dry_run(committing_client: AsyncClient, committed: Database, settings: Settings) -> None:
    answer = await committing_client.post(f"{PATH}?dry_run=true", files=sent(FILE))
    await worked_off(committed, settings)
    async with committed.reading() as session:
        result: Any = await session.scalar(select(JobRow.result).where(JobRow.id == answer.json()["id"]))
    assert (result["dry_run"], result["inserted"]) == (True, 2)
    assert await count(committed, table_of(Book)) == 0


async def test_a_large_file_comes_in_chunks(committing_client: AsyncClient, committed: Database) -> None:
    """One in memory at a time, and each committed as soon as it is there."""
    content = FILE + b"3,Three,Cleo\n" * 300_000
    arrived = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        half = len(content) // 2
        for at in range(0, half, 50_000):
            yield content[at : min(half, at + 50_000)]
        await arrived.wait()
        yield content[half:]

    sending = asyncio.create_task(committing_client.post(f"{PATH}?source=s", content=slowly(), headers=CSV))

    async def some() -> bool:
        return await count(committed, CHUNKS) >= len(content) // 2 // (CHUNK_BYTES + 50_000)

    await until(some)
    assert committed.writes.gate.free == committed.writes.gate.permits  # nothing is held while the client is waited for
    assert not await count(committed, JobRow)
    arrived.set()
    assert await spooled(committed, await sending) == content


async def called(
    client: AsyncClient, messages: Sequence[dict[str, Any]], *headers: tuple[bytes, bytes], query: bytes = b"source=s"
) -> int:
    """The status of a request whose messages are given, as a server hands them on."""
    waiting, found = iter(messages), list[int]()

    async def receive() -> dict[str, Any]:
        return next(waiting)

    async def send(message: Any) -> None:
        found.append(message.get("status", 0))

    known = [(b"authorization", f"Bearer {ADMIN}".encode()), *headers]
    scope = {"type": "http", "method": "POST", "path": PATH, "query_string": query, "client": None, "headers": known}
    await client._transport.app(scope, receive, send)  # type: ignore[attr-defined]  # noqa: SLF001
    return found[0] if found else 0


async def test_a_client_that_leaves_leaves_no_job(committing_client: AsyncClient, committed: Database) -> None:
    piece = {"type": "http.request", "body": b"x" * CHUNK_BYTES, "more_body": True}
    chunked = (b"transfer-encoding", b"chunked"), (b"content-type", b"text/csv")
    assert await called(committing_client, [piece, piece, {"type": "http.disconnect"}], *chunked) in {0, 400}
    assert await count(committed, CHUNKS) == 2
    assert await nothing_is_left(committed)
    assert await Spool(committed).prune() == 1
    assert await count(committed, CHUNKS) == 0


async def test_a_file_whose_job_may_be_there_stays(
    committing_client: AsyncClient, committed: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection is lost behind the commit: the client is told that nobody knows, and the job has its file."""
    answered = answered_once

    async def lost(*given: Any) -> Response:
        await answered(*given)
        raise Unavailable("The connection was lost.", outcome="unknown")

    monkeypatch.setattr(importing, "answered_once", lost)
    refused(await committing_client.post(f"{PATH}?source=s", content=FILE, headers=CSV), 503, "unavailable")
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    assert await count(committed, table_of(Book)) == 2


async def test_a_file_that_is_too_large(settings: Settings, committed: Database) -> None:
    small = settings.model_copy(update={"upload_bytes_most": 5_000, "body_bytes_most": 1024})
    async with client_of(create_app(small, committed)) as client:
        assert (await client.post(f"{PATH}?source=s", content=FILE + b"\n" * 4_000, headers=CSV)).status_code == 202
        for body in (b"x" * 5_001, parts(b"x" * 5_000, b"x")):
            problem = refused(await client.post(f"{PATH}?source=s", content=body, headers=CSV), 413, "body-too-large")
            assert "Compress it (gzip), or divide it." in problem["detail"]
    assert await count(committed, JobRow) == 1


NO_FILES: dict[str, tuple[bytes, dict[str, str], int, str, str]] = {
    "no type": (FILE, {}, 415, "unsupported-media-type", "multipart/form-data"),
    "json": (FILE, {"Content-Type": "application/json"}, 415, "unsupported-media-type", "text/csv"),
    "curl -d": (FILE, {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type", "text/csv"),
    "packed": (FILE, {**CSV, "Content-Encoding": "gzip"}, 415, "unsupported-media-type", "Content-Encoding"),
    "no form": (FILE, {"Content-Type": "multipart/form-data; boundary=x"}, 400, "malformed-upload", "can't be read"),
    "no boundary": (FILE, {"Content-Type": "multipart/form-data"}, 400, "malformed-upload", "names no boundary"),
    "no part": (b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, 400, "malformed-upload", "holds no file"),
    "a bad key": (FILE, {**CSV, "Idempotency-Key": "a b"}, 422, "invalid-question", "Idempotency-Key"),
}


@pytest.mark.parametrize("body", NO_FILES)
async def test_bodies_that_are_no_file(committing_client: AsyncClient, committed: Database, body: str) -> None:
    content, headers, status, slug, words = NO_FILES[body]
    answer = await committing_client.post(f"{PATH}?source=s", content=content, headers=headers)
    assert words in refused(answer, status, slug)["detail"]
    assert await nothing_is_left(committed)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "source: say where the rows come from"),
        ("?source=", "source: it must have"),
        ("?source=" + "x" * 201, "source: it must have"),
        ("?source=a%00", "source: it must have"),
        ("?source=s&source=t", "each once"),
        ("?source=s&format=xml", "format: it is csv or ndjson"),
        ("?source=s&dry_run=perhaps", "dry_run: it is true or false"),
        ("?source=s&table=loans", "table: this route takes"),
    ],
)
async def test_parameters_that_are_wrong(committing_client: AsyncClient, committed: Database, query: str, words: str) -> None:
    assert (
        words in refused(await committing_client.post(PATH + query, content=FILE, headers=CSV), 422, "invalid-question")["detail"]
    )
    assert await count(committed, FILES) == 0


async def never() -> bytes:
    """Nothing."""
    raise AssertionError("the body was read")


async def unread() -> AsyncIterator[bytes]:
    """Nothing of it may be read."""
    yield await never()


async def test_what_is_refused_before_the_body_is_read(committing_client: AsyncClient, committed: Database) -> None:
    reader, confined = await granted(committed, "books:read"), await granted(committed, "books:write", within={"member_id": "1"})
    for path, key, status, slug in (
        (PATH, reader, 403, "forbidden"),
        (PATH, confined, 403, "forbidden"),
        ("/v1/authors:import", ADMIN, 404, "not-found"),
        (PATH + "?sauce=s", ADMIN, 422, "invalid-question"),
    ):
        refused(await committing_client.post(path, content=unread(), headers={**CSV, **bearer(key)}), status, slug)
    anonymous = {**CSV, "Authorization": ""}
    assert (await committing_client.post(PATH, content=unread(), headers=anonymous)).status_code == 401
    assert await count(committed, FILES) == 0


async def test_a_key_with_too_many_open_jobs(settings: Settings, committed: Database) -> None:
    async with client_of(create_app(settings.model_copy(update={"open_jobs_most_each": 2}), committed)) as client:
        for _ in range(2):
            assert (await client.post(PATH, files=sent(FILE))).status_code == 202
        answer = await client.post(f"{PATH}?source=s", content=unread(), headers=CSV)
        refused(answer, 429, "too-many-requests")
        assert int(answer.headers["retry-after"]) > 0
        other = bearer(await granted(committed, "books:write"))
        assert (await client.post(PATH, files=sent(FILE), headers=other)).status_code == 202
        await worked_off(committed, settings)
        assert (await client.post(PATH, files=sent(FILE))).status_code == 202


async def test_a_key_that_has_sent_enough_for_a_day(settings: Settings, committed: Database) -> None:
    async with client_of(create_app(settings.model_copy(update={"upload_bytes_a_day": 2_000}), committed)) as client:
        assert (await client.post(f"{PATH}?source=s", content=FILE + b"\n" * 1_000, headers=CSV)).status_code == 202
        for body in (b"x" * 1_500, parts(b"x" * 900, b"x" * 600)):
            answer = await client.post(f"{PATH}?source=s", content=body, headers=CSV)
            assert "2,000 bytes within 24 hours" in refused(answer, 429, "too-many-requests")["detail"]
            assert int(answer.headers["retry-after"]) > 3600
    assert await count(committed, JobRow) == 1


async def test_uploads_at_once_get_what_is_left_together(
    settings: Settings, committed: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each was let in when all of it was left."""
    uploads, part, begun, all_of_them = 5, 1_000, list[int](), asyncio.Event()
    monkeypatch.setattr("service.http.uploading.CHUNK_BYTES", part)

    async def body() -> AsyncIterator[bytes]:
        begun.append(1)
        if len(begun) == uploads:
            all_of_them.set()
        await all_of_them.wait()
        for _ in range(4):
            yield FILE + b"\n" * (part - len(FILE))

    async with client_of(create_app(settings.model_copy(update={"upload_bytes_a_day": 5 * part}), committed)) as client:
        sending = (client.post(f"{PATH}?source=s{number}", content=body(), headers=CSV) for number in range(uploads))
        answers = await asyncio.gather(*sending)
    assert {answer.status_code for answer in answers} <= {202, 429}
    async with committed.reading() as session:
        sent_, _ = await sent_of(session, "testadmn")
    assert 0 < sent_ <= (5 + uploads - 1) * part


async def test_a_directory_that_is_away_is_not_called_the_database(settings: Settings, committed: Database, tmp_path: Path) -> None:
    away = settings.model_copy(update={"spool_directory": tmp_path / "away"})
    async with client_of(create_app(away, committed)) as client:
        with capture_logs() as logged:
            answer = await client.post(PATH, files=sent(FILE))
    assert refused(answer, 503, "unavailable")["detail"].startswith("The directory that files are kept in can't be used right now")
    (line,) = [line for line in logged if line["event"] == "refused"]
    assert "No such file or directory" in line["cause"]


async def test_an_idempotency_key_asks_for_one_job(committing_client: AsyncClient, committed: Database) -> None:
    """The file is sent again, and is another one by its bytes alone: each form has a boundary of its own."""
    key = {"Idempotency-Key": "k"}
    first = await committing_client.post(PATH, files=sent(FILE), headers=key)
    again = await committing_client.post(PATH, files=sent(FILE), headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    for files, query in ((sent(FILE + b"3,Three,C\n"), ""), (sent(FILE, "other.csv"), ""), (sent(FILE), "?dry_run=true")):
        answer = await committing_client.post(PATH + query, files=files, headers=key)
        refused(answer, 422, "idempotency-key-reused")
    assert await count(committed, JobRow) == 1
    async with committed.reading() as session:
        living = await session.scalar(select(func.count()).select_from(FILES).where(FILES.c.expires_at > NOW))
    assert living == 1
    assert (await committing_client.post(PATH, files=sent(FILE))).json()["id"] != first.json()["id"]


async def test_of_requests_with_one_key_at_once_one_asks_for_a_job(committing_client: AsyncClient, committed: Database) -> None:
    key = {"Idempotency-Key": "k"}
    answers = await asyncio.gather(*(committing_client.post(PATH, files=sent(FILE), headers=key) for _ in range(6)))
    assert {answer.status_code for answer in answers} <= {202, 409, 503}  # the last where all connections are busy
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 202}) == 1
    assert await count(committed, JobRow) == 1


async def test_a_refused_upload_leaves_its_idempotency_key_free(committing_client: AsyncClient, committed: Database) -> None:
    headers = {**CSV, "Idempotency-Key": "k"}
    refused(
        await committing_client.post(f"{PATH}?source=s", content=b"x", headers=headers | {"Content-Type": "x/y"}),
        415,
        "unsupported-media-type",
    )
    assert (await committing_client.post(f"{PATH}?source=s", content=FILE, headers=headers)).status_code == 202


async def test_an_upload_whose_file_vanished_asks_for_nothing(committing_client: AsyncClient, committed: Database) -> None:
    """It stood still for longer than an unsealed file is kept."""

    async def still() -> AsyncIterator[bytes]:
        yield FILE
        async with committed.writing() as unit:
            await unit.session.execute(update(FILES).values(expires_at=NOW))

    answer = await committing_client.post(f"{PATH}?source=s", content=still(), headers=CSV)
    refused(answer, 408, "slow-body")
    assert not await count(committed, JobRow)


async def test_openapi_tells_of_it(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    told = paths[PATH]["post"]
    assert set(told["requestBody"]["content"]) >= {"multipart/form-data", "text/csv", "application/gzip"}
    assert {parameter["name"] for parameter in told["parameters"]} == {"source", "format", "dry_run"}
    assert told["security"] == [{"key": ["books:write"]}]
    assert {"202", "400", "401", "403", "413", "415", "422", "429"} <= set(told["responses"])
    assert "/v1/authors:import" not in paths
    assert json.dumps(told)
