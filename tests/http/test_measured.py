"""Who is asked for the numbers: gates, the loop's watch, limits, the catalogue and the ledger, with their own events."""

import asyncio
from typing import Any

import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text

from service.app import create_app
from service.db import Database
from service.db.gate import Gate
from service.http import measured
from service.http.measured import FAMILIES, WAITED
from service.settings import Settings
from service.telemetry.counting import Labels, Numbers, gathered
from tests.fixtures.application import client_of
from tests.waiting import until

BY_NAME = {family.name: family for family in FAMILIES}


def told(app: FastAPI) -> Numbers:
    """All numbers of one process."""
    return gathered(app.state.metrics._sources)  # noqa: SLF001


def of(app: FastAPI, name: str, *labels: str) -> float:
    """One number; a histogram's number of values."""
    series: dict[Labels, list[float]] = told(app).get(name, {})
    numbers = series.get(labels, [0.0])
    return sum(numbers[:-1]) if len(numbers) > 1 else numbers[0]


async def test_every_number_is_of_a_family_and_of_its_size(settings: Settings, committed: Database) -> None:
    app = create_app(settings, committed)
    async with client_of(app) as client:
        for path in ("/v1/books", "/v1/books?title=It", "/v1/books/0", "/nothing"):
            await client.get(path)
    for name, series in told(app).items():
        for labels, numbers in series.items():
            assert (len(labels), len(numbers)) == (len(BY_NAME[name].labels), BY_NAME[name].size), name


async def test_the_gates(settings: Settings, committed: Database) -> None:
    """Waits, holds, the queue now, and who got nothing."""
    app = create_app(settings, committed)
    gate = committed.reads.gate
    before = of(app, "shelfmark_pool_wait_seconds", "reads")
    held = [await elsewhere(gate) for _ in range(gate.permits)]
    waiting = asyncio.ensure_future(gate.take())
    await until(lambda: gate.queued)
    assert of(app, "shelfmark_pool_connections", "reads") == of(app, "shelfmark_pool_busy", "reads") == gate.permits
    assert of(app, "shelfmark_pool_queued", "reads") == 1
    for permit in held:
        permit.give_back()
    (await waiting).give_back()
    assert of(app, "shelfmark_pool_wait_seconds", "reads") == before + gate.permits + 1
    assert of(app, "shelfmark_pool_hold_seconds", "reads") >= gate.permits + 1
    assert of(app, "shelfmark_pool_busy", "reads") == of(app, "shelfmark_pool_queued", "reads") == 0
    gate.sheds["hurry"] += 3
    gate.timeouts += 2
    assert of(app, "shelfmark_pool_refused_total", "reads", "hurry") == 3
    assert of(app, "shelfmark_pool_refused_total", "reads", "timeout") == 2
    assert of(app, "shelfmark_pool_refused_total", "writes", "hurry") == 0


async def elsewhere(gate: Gate) -> Any:
    """A permit, taken by a task of its own."""
    return await asyncio.ensure_future(gate.take())


@pytest.mark.parametrize("seconds", [0.0, 1e-5, 6.3e-5, 6.5e-5, 0.001, 0.01, 0.5, 3.0, 16.0, 17.0, 60.0, 70.0])
def test_a_gates_times_stay_in_their_range(seconds: float) -> None:
    gate = Gate(1, patience_seconds=1.0, queue_most=1)
    gate.count(seconds)
    counts = measured._within(gate.holds)  # noqa: SLF001
    assert len(counts) == len(WAITED) + 1
    assert sum(counts) == 1
    at = counts.index(1)
    assert at == len(WAITED) or seconds <= WAITED[at]
    assert at == 0 or seconds >= WAITED[at - 1] * 0.999


async def test_questions_that_are_refused(settings: Settings, own_database: str) -> None:
    """By table where no index serves them, by index where it is away."""
    app = create_app(settings.model_copy(update={"database_url": SecretStr(own_database)}))
    database: Database = app.state.service.database
    async with database.writing() as unit:
        await unit.session.execute(text("DROP INDEX ix_books_by_language"))
    async with app.router.lifespan_context(app), client_of(app) as client:
        await until(lambda: database.catalogue.withdrawn)
        assert of(app, "shelfmark_paths_withdrawn") == 1
        assert (await client.get("/v1/books?language=swe&sort=-ratings_count")).status_code == 503
        assert (await client.get("/v1/books?title=It")).status_code == 400
        assert of(app, "shelfmark_questions_refused_total", "books", "ix_books_by_language") == 1
        assert of(app, "shelfmark_questions_refused_total", "books", "") == 1


async def test_requests_that_limits_refuse(settings: Settings, committed: Database) -> None:
    limited = {"key_requests_per_second": 0.001, "key_requests_burst": 2, "redis_url": None, "address_requests_per_second": 0.001}
    app = create_app(settings.model_copy(update=limited | {"address_requests_burst": 1}), committed)
    async with client_of(app) as client, client_of(app, key=None) as stranger:
        statuses = [(await client.get("/v1/books/0")).status_code for _ in range(4)]
        assert statuses == [404, 404, 429, 429]
        assert [(await stranger.get("/problems/internal")).status_code for _ in range(3)].count(429) == 2
    assert of(app, "shelfmark_limits_refused_total", "key") == 2
    assert of(app, "shelfmark_limits_refused_total", "address") == 2
    assert of(app, "shelfmark_problems_total", "too-many-requests") == 4
    assert of(app, "shelfmark_limits_alone") == 1, "there is no Redis"


async def test_dear_requests_that_are_too_many(settings: Settings, committed: Database) -> None:
    app = create_app(settings.model_copy(update={"dear_requests_most": 2, "dear_requests_most_each": 1}), committed)
    limits = app.state.limits
    limits.dear._running["testadmn"] = 1  # noqa: SLF001
    async with client_of(app) as client:
        assert (await client.get("/v1/books?title__icontains=abc")).status_code == 429
        limits.dear._running.clear()  # noqa: SLF001
        limits.dear._running["others"] = 2  # noqa: SLF001
        assert (await client.get("/v1/books?title__icontains=abc")).status_code == 503
        limits.dear._running.clear()  # noqa: SLF001
        assert (await client.get("/v1/books?title__icontains=abc")).status_code == 200
        assert not limits.dear._running  # noqa: SLF001
    assert of(app, "shelfmark_limits_refused_total", "dear_each") == of(app, "shelfmark_limits_refused_total", "dear") == 1


async def test_the_event_loop(settings: Settings, committed: Database) -> None:
    """Each tick counts, by how late it was; and each request that is refused for that."""
    app = create_app(settings, committed)
    watch = app.state.watch
    async with client_of(app) as client:
        await client.get("/v1/books/0")
        await until(lambda: of(app, "shelfmark_event_loop_lag_seconds") >= 1)
        watch.lag.over = True
        assert (await client.get("/v1/books/0")).status_code == 503
        watch.lag.over = False
    assert of(app, "shelfmark_event_loop_shed_total") == 1


async def test_what_is_tried_again(settings: Settings, committed: Database) -> None:
    app = create_app(settings, committed)
    committed.again["reads"] += 2
    assert of(app, "shelfmark_retries_total", "reads") == 2
    assert of(app, "shelfmark_retries_total", "writes") == 0
