"""A route may declare more room for its body than others have: more bytes, and more time."""

import asyncio
from collections.abc import AsyncIterator
from time import monotonic

import pytest
from fastapi import APIRouter, FastAPI, Request
from httpx import AsyncClient

from service.app import create_app
from service.db.bound import Bound
from service.db.deadline import left
from service.errors import SetupError
from service.http import open_to_all
from service.http.room import Room, takes
from service.http.scopes import Declared
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.http.conftest import refused

MOST, LARGE = 2000, 50_000
JSON = {"Content-Type": "application/json"}
router = APIRouter(route_class=Declared)


@router.post("/large")
@open_to_all
@takes(lambda settings: Room(LARGE, settings.body_seconds * 2, 10_000, "Send half."))
async def large(request: Request) -> int:
    """How many bytes it was sent."""
    return len(await request.body())


@router.post("/long")
@open_to_all
@takes(lambda _: Room(LARGE, 60.0))
async def long(request: Request) -> float:
    """How long it may take."""
    await request.body()
    return left(1000.0)


@router.post("/small")
@open_to_all
async def small(request: Request) -> int:
    """How many bytes it was sent."""
    return len(await request.body())


@pytest.fixture
async def caller(settings: Settings, database: Bound) -> AsyncIterator[AsyncClient]:
    """Calls a service with these routes."""
    narrow = {"body_bytes_most": MOST, "body_seconds": 0.2, "request_timeout_seconds": 5.0}
    app = create_app(settings.model_copy(update=narrow), database)
    app.include_router(router, prefix="/v1")
    async with client_of(app) as client:
        yield client


async def parts(*bodies: bytes, pause: float = 0.0) -> AsyncIterator[bytes]:
    """A body in parts."""
    for body in bodies:
        await asyncio.sleep(pause)
        yield body


async def test_each_route_has_its_own_room(caller: AsyncClient) -> None:
    assert (await caller.post("/v1/large", content=b"x" * LARGE)).json() == LARGE
    assert (await caller.post("/v1/small", content=b"x" * MOST)).json() == MOST
    refused(await caller.post("/v1/small", content=b"x" * (MOST + 1)), 413, "body-too-large")
    for body in (b"x" * (LARGE + 1), parts(b"x" * LARGE, b"x")):
        problem = refused(await caller.post("/v1/large", content=body), 413, "body-too-large")
        assert problem["detail"] == f"The body has more than {LARGE} bytes, the most that this service reads. Send half."


async def test_a_path_that_only_begins_like_it_has_no_more_room(caller: AsyncClient) -> None:
    for path in ("/v1/large/", "/v1/largest", "/v2/large"):
        refused(await caller.post(path, content=b"x" * (MOST + 1)), 413, "body-too-large")
    refused(await caller.put("/v1/large", content=b"x" * (MOST + 1)), 413, "body-too-large")


async def test_a_slow_body_has_its_own_pace(caller: AsyncClient) -> None:
    began = monotonic()
    problem = refused(await caller.post("/v1/large", content=parts(*[b"x"] * 100, pause=0.05)), 408, "slow-body")
    assert problem["detail"].startswith("The body didn't arrive within 0.4 s and a second more for each 9 KiB.")
    assert monotonic() - began > 0.35


async def test_the_deadline_is_as_much_later_as_the_body_may_take(caller: AsyncClient) -> None:
    assert 5.0 < (await caller.post("/v1/long", content=b"x")).json() <= 5.0 + 60.0 + LARGE / (16 * 1024)


async def test_a_path_with_parameters_cannot_be_known_before_its_route(app: FastAPI) -> None:
    async def endpoint() -> None:
        """Nothing."""

    inner = APIRouter()
    inner.add_api_route("/{id}/large", takes(lambda _: Room(1, 1.0))(endpoint), methods=["POST"])
    app.include_router(inner)
    with pytest.raises(SetupError, match="by its path"):
        app.state.rooms.declared({"method": "POST", "path": "/x", "app": app})
