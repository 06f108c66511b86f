"""Spans of statements and requests, as OpenTelemetry's own SDK has them; none of them holds a value; and none where nobody asks."""

import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from service.app import create_app
from service.db import Database
from service.errors import SetupError
from service.settings import Settings
from service.telemetry.tracing import Spans
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import REPOSITORY
from tests.waiting import until

SECRET = "canary"
PARENT = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans go."""
    return InMemorySpanExporter()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> Spans:
    """Spans that are kept in memory."""
    return Spans(exporter)


@pytest.fixture
async def database(database_url: str, spans: Spans) -> AsyncIterator[Database]:
    """A database whose statements are watched."""
    made = Database.connect(database_url, settings_of(database_url))
    for leases in made.pools():
        spans.watch(leases.engine)
    yield made
    await made.close()


def told(span: ReadableSpan) -> dict[str, object]:
    """What a span says of itself."""
    return dict(span.attributes or {})


def of(exporter: InMemorySpanExporter, sql: str) -> list[ReadableSpan]:
    """The spans of a statement."""
    return [span for span in exporter.get_finished_spans() if sql in str(told(span).get("db.query.text"))]


async def test_statements_of_sessions_and_of_leases(database: Database, exporter: InMemorySpanExporter) -> None:
    """Each has one, as long as it took, and no value: neither one that was bound nor one that was written into it."""
    async with database.reading() as session:
        await session.execute(text(f"SELECT pg_sleep(0.02), '{SECRET}', CAST(:value AS text) AS session"), {"value": SECRET})
    async with database.lease() as driver:
        await driver.fetch(f"SELECT pg_sleep(0.02), '{SECRET}', $1::text AS lease", SECRET)
    await until(lambda: of(exporter, "AS lease"))  # the driver tells of it in a moment
    for name in ("session", "lease"):
        (span,) = of(exporter, f"AS {name}")
        assert (span.name, span.kind) == ("SELECT", SpanKind.CLIENT)
        assert told(span)["db.system.name"] == "postgresql"
        assert str(told(span)["db.query.text"]).startswith("SELECT pg_sleep(?), ?, ")
        assert span.start_time is not None
        assert span.end_time is not None
        assert 0.02e9 <= span.end_time - span.start_time < 5e9
    assert SECRET not in "".join(span.to_json() for span in exporter.get_finished_spans())


async def test_a_statement_that_fails_says_by_which_state(database: Database, exporter: InMemorySpanExporter) -> None:
    """Not by its message, which quotes values."""
    async with database.writes.session() as session:
        with pytest.raises(DBAPIError):
            await session.execute(text(f"SELECT CAST('{SECRET}' AS int) AS failing"))
    (span,) = of(exporter, "AS failing")
    assert span.status.status_code is StatusCode.ERROR
    assert told(span)["error.type"] == "22P02"
    assert (span.status.description, list(span.events)) == (None, [])
    assert SECRET not in span.to_json()


async def test_statements_belong_to_their_request(database: Database, spans: Spans, exporter: InMemorySpanExporter) -> None:
    """And it to its caller's."""
    ended = spans.request("GET", {b"traceparent": PARENT})
    async with database.reading() as session:
        await session.execute(text("SELECT 1 AS session"))
    async with database.lease() as driver:
        await driver.fetch("SELECT 1 AS lease")
    ended("/v1/books", 200, "urn:uuid:1")
    async with database.lease() as driver:
        await driver.fetch("SELECT 1 AS later")
    await until(lambda: of(exporter, "AS later"))
    (request,) = [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]
    assert request.parent is not None
    assert (request.context.trace_id, request.parent.span_id) == (0x0AF7651916CD43DD8448EB211C80319C, 0xB7AD6B7169203331)
    for name in ("session", "lease"):
        (span,) = of(exporter, f"AS {name}")
        assert span.parent is not None
        assert span.parent.span_id == request.context.span_id
    (later,) = of(exporter, "AS later")
    assert later.parent is None


def test_where_nobody_asks_nothing_is_loaded() -> None:
    """FastAPI itself loads OpenTelemetry's API, which does nothing by itself."""
    program = "import sys, service.app; print([name for name in sys.modules if 'opentelemetry.sdk' in name or 'tracing' in name])"
    assert subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY, text=True) == "[]\n"


def test_the_frameworks_own_spans_are_off() -> None:
    """They would hold paths and queries, wherever somebody else has set OpenTelemetry up for the whole process."""
    program = """
import asyncio
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
from service.app import create_app
from service.settings import load
from tests.fixtures.application import client_of
async def asked():
    app = create_app(load(_env_file=None, database_url="postgresql://u@127.0.0.1:1/x", secrets="s" * 32, hosts="*"))
    async with client_of(app, key=None) as client:
        assert (await client.get("/nothing?secret=canary")).status_code == 404
        assert (await client.get("/livez?secret=canary")).status_code == 200
asyncio.run(asked())
print([span.to_json() for span in exporter.get_finished_spans()])
"""
    given = {"PATH": "/usr/bin:/bin", "FASTAPI_OTEL_AUTO_CONFIGURE": "true"}
    assert subprocess.check_output([sys.executable, "-c", program], cwd=REPOSITORY, text=True, env=given) == "[]\n"


def test_what_is_missing_is_said(settings: Settings) -> None:
    """The exporter is not among what tests need."""
    with pytest.raises(SetupError, match=r"pip install 'shelfmark\[tracing\]'"):
        create_app(settings.model_copy(update={"tracing": True}))


def test_without_it_there_is_no_layer(app: FastAPI) -> None:
    assert "Tracing" not in {layer.cls.__name__ for layer in app.user_middleware}  # type: ignore[attr-defined]
