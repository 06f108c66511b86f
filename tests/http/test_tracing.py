"""Requests as spans."""

from collections.abc import AsyncIterator

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.middleware import Middleware

from service.http.tracing import Tracing
from service.telemetry.tracing import Spans
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of

SECRET = "canary"


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    """Where spans go."""
    return InMemorySpanExporter()


@pytest.fixture
async def traced(app: FastAPI, exporter: InMemorySpanExporter) -> AsyncIterator[AsyncClient]:
    """A client of the service with spans."""
    app.user_middleware.insert(0, Middleware(Tracing, Spans(exporter)))
    async with client_of(app) as client:
        yield client


def requests(exporter: InMemorySpanExporter) -> list[ReadableSpan]:
    """The spans of requests."""
    return [span for span in exporter.get_finished_spans() if span.kind is SpanKind.SERVER]


async def test_a_request_by_its_route(traced: AsyncClient, exporter: InMemorySpanExporter) -> None:
    book = await BookFactory.create()
    answer = await traced.get(f"/v1/books/{book.id}?fields=id")
    (span,) = requests(exporter)
    assert span.name == "GET /v1/books/{id}"
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET",
        "http.route": "/v1/books/{id}",
        "http.response.status_code": 200,
        "shelfmark.request": f"urn:uuid:{answer.headers['x-request-id']}",
    }
    assert span.status.status_code is StatusCode.UNSET


async def test_nothing_that_a_client_wrote(traced: AsyncClient, exporter: InMemorySpanExporter) -> None:
    await traced.get(f"/v1/books?title={SECRET}", headers={"X-Secret": SECRET, "Cookie": SECRET, "traceparent": SECRET})
    await traced.get(f"/{SECRET}")
    await traced.request(SECRET.upper(), "/v1/books")
    names = [span.name for span in requests(exporter)]
    assert names == ["GET /v1/books", "GET none", "other /v1/books"]
    assert SECRET not in "".join(span.to_json() for span in requests(exporter)).lower()


async def test_a_failure_is_one(app: FastAPI, traced: AsyncClient, exporter: InMemorySpanExporter) -> None:
    @app.get("/mistaken")
    async def mistaken() -> None:
        raise ZeroDivisionError(SECRET)

    assert (await traced.get("/mistaken")).status_code == 500
    (span,) = requests(exporter)
    assert span.status.status_code is StatusCode.ERROR
    assert list(span.events) == []
    assert SECRET not in span.to_json()
