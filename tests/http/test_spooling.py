"""`POST :export`: a question becomes a job, its rows a file that a link leads to; or it is refused, and there is no job."""

import asyncio
import csv
import io
import json
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import func, select, text

from service.app import create_app
from service.db import Database
from service.db.bound import Bound
from service.jobs.files import FILES, NOW
from service.jobs.links import ROUTE
from service.jobs.rows import JobRow
from service.jobs.spool import Spool
from service.settings import Settings
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.application import client_of
from tests.fixtures.jobs import RunJobs
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import KINDS, refused, serving, walked

PATH = "/v1/books:export"
TITLES = ['=1+1 "quoted", cell', "with\nlines", "É夜", "plain"]


async def jobs(database: Database) -> int:
    """How many jobs there are."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(JobRow)) or 0


async def bare(client: AsyncClient, url: str, method: str = "GET") -> Response:
    """The answer to somebody without a key."""
    request = client.build_request(method, url)
    del request.headers["authorization"]
    return await client.send(request)


async def ended(client: AsyncClient, answer: Response, headers: dict[str, str] | None = None) -> Any:
    """The job of an answer, as its Location shows it."""
    assert answer.status_code == 202, answer.text
    found = await client.get(answer.headers["location"], headers=headers)
    assert found.status_code == 200, found.text
    return found.json()


async def file(client: AsyncClient, run_jobs: RunJobs, path: str, headers: dict[str, str] | None = None) -> Response:
    """The file that becomes of a question."""
    answer = await client.post(path, headers=headers)
    assert [ran.outcome for ran in await run_jobs()] == ["done"]
    result = (await ended(client, answer, headers))["result"]
    found = await bare(client, result["url"])
    assert len(found.content) == result["bytes"]
    return found


async def test_from_a_question_to_a_file(client: AsyncClient, run_jobs: RunJobs) -> None:
    author = await AuthorFactory.create()
    for title in TITLES:
        await BookFactory.create(title=title, author=author)
    await BookFactory.create()
    question = f"author_id={author.id}&sort=-published_year"
    answer = await client.post(f"{PATH}?{question}&format=ndjson")
    job = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (202, f"/v1/jobs/{job['id']}")
    assert (job["name"], job["state"], job["result"]) == ("export", "queued", None)
    assert [ran.outcome for ran in await run_jobs()] == ["done"]
    found = await ended(client, answer)
    assert (found["state"], found["done"], found["total"], found["asked_by"]) == ("done", len(TITLES), len(TITLES), "testadmn")
    result = found["result"]
    assert set(result) == {"rows", "bytes", "url", "expires_at"}
    got = await bare(client, result["url"])
    assert got.status_code == 200
    assert got.headers["content-type"] == "application/x-ndjson"
    assert got.headers["content-disposition"].startswith('attachment; filename="books.ndjson"')
    rows = await walked(client, "/v1/books", author_id=author.id, sort="-published_year")
    assert [json.loads(line) for line in got.text.split("\n")[:-1]] == rows
    assert (result["rows"], result["bytes"]) == (len(TITLES), len(got.content))


@pytest.mark.parametrize("more", ["", "&formulas=keep", "&fields=title,id", "&format=csv"])
async def test_it_is_the_file_that_is_streamed(more: str, client: AsyncClient, run_jobs: RunJobs) -> None:
    for title in TITLES:
        await BookFactory.create(title=title)
    streamed = await client.get(f"/v1/books.csv?sort=id{more.replace('&format=csv', '')}")
    found = await file(client, run_jobs, f"{PATH}?sort=id{more}")
    assert found.content == streamed.content
    assert found.headers["content-type"] == "text/csv; charset=utf-8"
    assert len(list(csv.reader(io.StringIO(found.text, newline="")))) == 1 + len(TITLES)


@pytest.mark.parametrize("asked", ["", "isbn13=9780000000002", "id__in=3,1,2", "title__icontains=garden"])
async def test_whatever_the_list_serves(asked: str, client: AsyncClient, run_jobs: RunJobs) -> None:
    await BookFactory.create(isbn13="9780000000002", title="The Garden")
    await BookFactory.create(title="Gardens of ash")
    streamed = await client.get(f"/v1/books.ndjson?{asked}")
    assert (await file(client, run_jobs, f"{PATH}?{asked}&format=ndjson")).content == streamed.content


async def test_the_question_is_kept_as_it_was_asked(kinds_table: None, settings: Settings, database: Bound) -> None:
    """As it stood in the URL, so that each type comes through; with its members, so that another version writes the same ones."""
    async with client_of(serving(settings, database)) as kinds:
        answer = await kinds.post(f"{KINDS}:export?sort=id&fields=id,moment")
        assert answer.status_code == 202, answer.text
    async with database.reading() as session:
        args: Any = await session.scalar(select(JobRow.args).order_by(JobRow.id.desc()))
    assert args == {
        "table": "test_kinds",
        "question": [["sort", "id"], ["fields", "id,moment"]],
        "form": "csv",
        "formulas": "quote",
        "within": {},
    }


NO_QUESTIONS = {
    "sort=isbn13": (400, "not-served"),
    "limit=5": (422, "invalid-question"),
    "cursor=x": (422, "invalid-question"),
    "count=capped": (422, "invalid-question"),
    "include=author": (422, "invalid-question"),
    "nothing=1": (422, "invalid-question"),
    "fields=version": (422, "invalid-question"),
    "format=xml": (422, "invalid-question"),
    "format=csv&format=csv": (422, "invalid-question"),
    "formulas=drop": (422, "invalid-question"),
    "format=ndjson&formulas=keep": (422, "invalid-question"),
    "fields=id&fields=title": (422, "invalid-question"),
    "author_id=x": (422, "invalid-question"),
}


@pytest.mark.parametrize("asked", NO_QUESTIONS)
async def test_refusals_come_before_there_is_a_job(asked: str, client: AsyncClient, queries: Queries, database: Bound) -> None:
    problem = refused(await client.post(f"{PATH}?{asked}"), *NO_QUESTIONS[asked])
    assert len(queries) == 0
    if problem["status"] == 400:
        assert problem | {"instance": ""} == (await client.get(f"/v1/books?{asked}")).json() | {"instance": ""}
    assert await jobs(database) == 0


async def test_an_index_that_is_away(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    async with database.writing() as unit:
        await unit.session.execute(text("DROP INDEX ix_books_by_author"))
    await app.state.service.database.catalogue.refresh(database)
    answer = await client.post(f"{PATH}?author_id=1")
    refused(answer, 503, "index-not-ready")
    assert answer.headers["retry-after"]
    assert await jobs(database) == 0


async def test_a_question_in_the_body_is_refused(client: AsyncClient, database: Bound) -> None:
    """Else everything would be exported."""
    problem = refused(await client.post(PATH, json={"author_id": 7}), 422, "invalid-body")
    assert "stands in the URL" in problem["detail"]
    assert await jobs(database) == 0


async def test_who_may_export(client: AsyncClient, database: Bound, settings: Settings) -> None:
    """Whoever may read the table, and has a key: nobody else could be told of the job."""
    refused(await client.post(PATH, headers=bearer(await granted(database, "books:write"))), 403, "forbidden")
    refused(await bare(client, PATH, "POST"), 401, "unauthorized")
    async with client_of(create_app(settings.model_copy(update={"public_read": ("books",)}), database)) as public:
        assert (await bare(public, "/v1/books.csv")).status_code == 200
        refused(await bare(public, PATH, "POST"), 401, "unauthorized")
    assert await jobs(database) == 0
    key = bearer(await granted(database, "books:read"))
    answer = await client.post(PATH, headers=key)
    assert (await ended(client, answer, key))["state"] == "queued"
    other = bearer(await granted(database, "books:read"))
    assert (await client.get(answer.headers["location"], headers=other)).status_code == 404


async def test_a_confined_key_exports_its_rows_only(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    mine, other = await MemberFactory.create(), await MemberFactory.create()
    loans = [await LoanFactory.create(member=member) for member in (mine, other)]
    key = bearer(await granted(database, "loans:read", within={"member_id": str(mine.id)}))
    for question in ("fields=id", f"fields=id&member_id={mine.id}"):
        found = await file(client, run_jobs, f"/v1/loans:export?{question}", key)
        assert found.text == f"id\n{loans[0].id}\n"
    async with database.reading() as session:
        args: Any = await session.scalar(select(JobRow.args).limit(1))
    assert args["within"] == {"member_id": mine.id}
    refused(await client.post(f"/v1/loans:export?member_id={other.id}", headers=key), 403, "forbidden")
    refused(await client.post(PATH, headers=key), 403, "forbidden")
    assert await jobs(database) == 2


async def test_a_confined_key_on_a_table_that_is_open_to_everybody(database: Bound, settings: Settings) -> None:
    key = bearer(await granted(database, "loans:read", within={"member_id": "1"}))
    async with client_of(create_app(settings.model_copy(update={"public_read": ("books",)}), database)) as public:
        assert (await public.post(PATH, headers=key)).status_code == 202


async def test_a_table_that_is_read_only_is_exported_too(client: AsyncClient, run_jobs: RunJobs) -> None:
    assert (await file(client, run_jobs, "/v1/events:export?fields=id")).text == "id\n"
    assert (await client.post("/v1/events", json={})).status_code == 405


async def test_a_link_that_is_tampered_with_or_has_expired(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    answer = await client.post(PATH)
    await run_jobs()
    url = (await ended(client, answer))["result"]["url"]
    assert (await client.get(url)).status_code == 200
    for other in (url[:-1] + ("A" if url[-1] != "A" else "B"), f"{ROUTE}/1", url.swapcase().replace(ROUTE.upper(), ROUTE)):
        refused(await client.get(other), 404, "not-found")
    async with database.writing() as unit:
        await unit.session.execute(FILES.update().values(expires_at=NOW))
    refused(await client.get(url), 404, "not-found")


async def test_a_file_that_isn_t_whole_is_offered_to_nobody(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    answer = await client.post(PATH)
    await run_jobs()
    url = (await ended(client, answer))["result"]["url"]
    async with database.writing() as unit:
        await unit.session.execute(FILES.update().values(sealed_at=None))
    refused(await client.get(url), 404, "not-found")


async def test_a_key_with_too_many_open_jobs(settings: Settings, database: Bound, run_jobs: RunJobs) -> None:
    async with client_of(create_app(settings.model_copy(update={"open_jobs_most_each": 2}), database)) as client:
        for _ in range(2):
            assert (await client.post(PATH)).status_code == 202
        answer = await client.post(PATH)
        refused(answer, 429, "too-many-requests")
        assert int(answer.headers["retry-after"]) > 0
        assert (await client.post(PATH, headers=bearer(await granted(database, "books:read")))).status_code == 202
        await run_jobs()
        assert (await client.post(PATH)).status_code == 202


async def test_of_many_at_once_no_more_are_let_in(settings: Settings, committed: Database) -> None:
    async with client_of(create_app(settings.model_copy(update={"open_jobs_most_each": 3}), committed)) as client:
        answers = await asyncio.gather(*(client.post(PATH) for _ in range(8)))
    assert sum(answer.status_code == 202 for answer in answers) == await jobs(committed)
    assert 1 <= await jobs(committed) <= 3
    assert {answer.status_code for answer in answers} <= {202, 429, 503}  # the last where all connections are busy


async def test_a_key_that_has_had_enough_for_a_day(settings: Settings, database: Bound) -> None:
    spool = Spool(database)
    made = await spool.open("books.csv", "export", asked_by="testadmn")
    await spool.append(made, b"x" * 2_000)
    async with client_of(create_app(settings.model_copy(update={"export_bytes_a_day": 2_000}), database)) as client:
        answer = await client.post(PATH)
        assert "may export 2,000 bytes within 24 hours" in refused(answer, 429, "too-many-requests")["detail"]
        assert int(answer.headers["retry-after"]) > 3600
        assert (await client.post(PATH, headers=bearer(await granted(database, "books:read")))).status_code == 202


async def test_an_idempotency_key_asks_for_one_job(client: AsyncClient, database: Bound) -> None:
    key = {"Idempotency-Key": "k"}
    first, again = await client.post(PATH, headers=key), await client.post(PATH, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    refused(await client.post(f"{PATH}?format=ndjson", headers=key), 422, "idempotency-key-reused")
    assert await jobs(database) == 1
    assert (await client.post(PATH)).json()["id"] != first.json()["id"]


async def test_what_was_refused_may_be_tried_again_under_its_key(client: AsyncClient, database: Bound) -> None:
    key = {"Idempotency-Key": "k"}
    refused(await client.post(f"{PATH}?sort=isbn13", headers=key), 400, "not-served")
    assert (await client.post(PATH, headers=key)).status_code == 202
    assert await jobs(database) == 1


async def test_a_job_that_waits_is_cancelled_and_makes_nothing(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    answer = await client.post(PATH)
    assert (await client.delete(answer.headers["location"])).status_code == 204
    assert await run_jobs() == []
    assert (await ended(client, answer))["result"] is None
    async with database.reading() as session:
        assert await session.scalar(select(func.count()).select_from(FILES)) == 0


def test_openapi_tells_of_it(app: FastAPI) -> None:
    route = app.openapi()["paths"][PATH]["post"]
    assert {"202", "400", "401", "403", "422", "429", "503"} <= set(route["responses"])
    parameters = {one["name"]: one for one in route["parameters"]}
    assert {"author_id", "sort", "fields", "format", "formulas"} <= set(parameters)
    assert not {"limit", "cursor", "count", "include", "If-None-Match"} & set(parameters)
    assert parameters["format"]["schema"] == {"type": "string", "enum": ["csv", "ndjson"], "default": "csv"}
    assert route["security"] == [{"key": ["books:read"]}]
