"""Every error is a problem document, the framework's own too; a mistake of the service tells nothing but its id."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI, HTTPException
from httpx import ASGITransport, AsyncClient
from structlog.testing import capture_logs

from service.http import layers, problems
from tests.http.conftest import refused

SECRET = "SELECT * FROM members"


@pytest.fixture
def broken() -> FastAPI:
    """An application with every way to go wrong."""
    app = FastAPI()
    problems.install(app)
    app.add_middleware(layers.Answering)

    @app.get("/mistake")
    async def mistake() -> None:
        raise LookupError(SECRET)

    @app.get("/forbidden")
    async def forbidden() -> None:
        raise HTTPException(403, "Only the librarian may.", {"X-Who": "librarian"})

    @app.get("/gone")
    async def gone() -> None:
        raise HTTPException(404, "This loan was returned.")

    @app.get("/strange")
    async def strange() -> None:
        raise HTTPException(499)

    @app.get("/typed/{number}")
    async def typed(number: int) -> int:
        return number

    @app.delete("/typed/{number}")
    async def untyped(number: int) -> int:
        return number

    return app


@pytest.fixture
async def caller(broken: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client that is answered, whatever happens inside."""
    transport = ASGITransport(app=broken, raise_app_exceptions=False)
    async with AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


async def test_an_unknown_path_is_not_found(client: AsyncClient) -> None:
    problem = refused(await client.get("/v1/nothing"), 404, "not-found")
    assert "/v1/nothing" in problem["detail"]


async def test_another_method_is_refused_with_those_that_work(client: AsyncClient) -> None:
    answer = await client.put("/v1/books/1", json={})
    assert "PUT" in refused(answer, 405, "method-not-allowed")["detail"]
    assert answer.headers["allow"] == "GET, HEAD, PATCH, DELETE"


async def test_a_collection_takes_get_and_post(client: AsyncClient) -> None:
    assert (await client.delete("/v1/books")).headers["allow"] == "GET, HEAD, POST"


async def test_a_mistake_shows_its_id_and_logs_the_rest(caller: AsyncClient) -> None:
    with capture_logs() as logs:
        answer = await caller.get("/mistake")
    problem = refused(answer, 500, "internal")
    assert SECRET not in answer.text
    assert problem["instance"] in problem["detail"]
    assert [(line["event"], line["instance"]) for line in logs if line["event"] != "request"] == [
        ("the service made a mistake", problem["instance"])
    ]


async def test_a_routes_own_refusal_keeps_its_words(caller: AsyncClient) -> None:
    answer = await caller.get("/forbidden")
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")
    assert (problem["type"], problem["title"], problem["detail"]) == ("about:blank", "Forbidden", "Only the librarian may.")
    assert answer.headers["x-who"] == "librarian"


async def test_a_routes_own_not_found_keeps_its_words(caller: AsyncClient) -> None:
    assert refused(await caller.get("/gone"), 404, "not-found")["detail"] == "This loan was returned."


async def test_a_status_that_nobody_knows_is_answered(caller: AsyncClient) -> None:
    answer = await caller.get("/strange")
    assert (answer.status_code, answer.json()["title"], answer.json()["type"]) == (499, "499", "about:blank")


async def test_a_parameter_that_fastapi_reads_is_named(caller: AsyncClient) -> None:
    problem = refused(await caller.get("/typed/x"), 422, "invalid-question")
    assert [error["parameter"] for error in problem["errors"]] == ["number"]


async def test_each_request_has_its_own_id(client: AsyncClient) -> None:
    first, second = [(await client.get("/v1/nothing")).json()["instance"] for _ in range(2)]
    assert first != second


async def test_what_a_client_sent_cant_spoil_the_answer(client: AsyncClient) -> None:
    answer = await client.post("/v1/authors", content=b'{"\\ud800": 1, "name": "a"}', headers={"Content-Type": "application/json"})
    assert refused(answer, 422, "invalid-body")


async def test_routes_are_told_to_answer_problems(broken: FastAPI) -> None:
    problems.describe(broken)
    told = broken.openapi()
    responses = told["paths"]["/typed/{number}"]["get"]["responses"]["422"]["content"]
    assert list(responses) == ["application/problem+json"]
    assert "HTTPValidationError" not in told["components"]["schemas"]
