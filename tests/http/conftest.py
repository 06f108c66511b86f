"""What the tests of the HTTP layer share."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy.ext.asyncio import AsyncEngine

from service.contract.cursor import Signer
from service.db import Database
from service.db.bound import Bound
from service.http import problems, serve
from service.http.uses import Service
from service.settings import Settings
from tests.db.kinds import KindRead, Kinds, KindWrite, made
from tests.fixtures.application import client_of, knowing

KINDS = "/v1/kinds"


def serving(settings: Settings, database: Database) -> FastAPI:
    """A small application that serves the table of all types."""
    app = FastAPI()
    app.state.service = Service(settings, database, Signer(settings.signing(), settings.cursor_seconds))
    problems.install(app)
    app.include_router(serve(Kinds, at="/kinds", read=KindRead, write=KindWrite), prefix="/v1")
    problems.describe(app)
    return knowing(app, settings, database)


@pytest.fixture(scope="package")
async def kinds_table(engine: AsyncEngine) -> AsyncIterator[None]:
    """The table of all types, empty."""
    async with made(engine):
        yield


@pytest.fixture
async def kinds(kinds_table: None, settings: Settings, database: Bound) -> AsyncIterator[AsyncClient]:
    """A client of the table of all types."""
    async with client_of(serving(settings, database)) as client:
        yield client


async def walked(client: AsyncClient, path: str, **parameters: Any) -> list[dict[str, Any]]:
    """All rows of a list, page after page."""
    rows: list[dict[str, Any]] = []
    while True:
        answer = await client.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        rows += answer.json()["data"]
        if answer.json()["next"] is None:
            return rows
        parameters["cursor"] = answer.json()["next"]


def refused(answer: Response, status: int, slug: str) -> dict[str, Any]:
    """The problem in an answer, checked for what each problem has."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    assert problem["type"] == f"/problems/{slug}"
    assert problem["status"] == status
    assert problem["instance"].startswith("urn:uuid:")
    assert problem["title"]
    assert problem["detail"]
    return problem
