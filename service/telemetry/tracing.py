"""Spans of requests and statements for OpenTelemetry, where `SHELFMARK_TRACING` asks for them. Else nothing of its SDK is imported.

    pip install 'shelfmark[tracing]'

OpenTelemetry itself reads where spans go, and which of them, from variables of its own: `OTEL_EXPORTER_OTLP_ENDPOINT`,
`OTEL_TRACES_SAMPLER`, `OTEL_SERVICE_NAME`. No span holds a value: no URL, no parameter, no literal of a statement, no message of an
error. What runs for several requests at once, or in the background, belongs to the request that began it, or to none.
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import SetupError
from service.telemetry.veiling import without_values

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

BEGAN = "shelfmark_began"
NAME = "shelfmark"
NANOSECONDS = 1e9
FAILED = 500
PARENT = (b"traceparent", b"tracestate")
"""The headers in which a caller says what its own span is (W3C Trace Context)."""
MISSING = "SHELFMARK_TRACING needs OpenTelemetry: pip install 'shelfmark[tracing]'."


class Spans:
    """Begins and ends spans.

    Args:
        exporter: takes each span when it ends; by default they are sent to a collector, in batches.

    Raises:
        SetupError: OpenTelemetry isn't installed.
    """

    def __init__(self, exporter: "SpanExporter | None" = None) -> None:
        try:
            from opentelemetry import context, trace
            from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            if exporter is None:
                from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        except ImportError as error:
            raise SetupError(MISSING) from error
        self._trace, self._context = trace, context
        self._provider = TracerProvider(resource=Resource({SERVICE_NAME: NAME}).merge(OTELResourceDetector().detect()))
        self._provider.add_span_processor(SimpleSpanProcessor(exporter) if exporter else BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer(NAME)
        self._parents = TraceContextTextMapPropagator()

    def request(self, method: str, headers: Mapping[bytes, bytes]) -> Callable[[str, int, str], None]:
        """Begin the span of a request, around all that this task does until it ends.

        Args:
            method: the request's.
            headers: its own.

        Returns:
            What ends it: is given the template of the route, the status, and the request's id.
        """
        told = {name.decode(): headers[name].decode("latin-1") for name in PARENT if name in headers}
        span = self._tracer.start_span(method, self._parents.extract(told), self._trace.SpanKind.SERVER)
        token = self._context.attach(self._trace.set_span_in_context(span))

        def ended(route: str, status: int, name: str) -> None:
            self._context.detach(token)
            span.update_name(f"{method} {route}")
            span.set_attributes(
                {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                    "shelfmark.request": name,
                }
            )
            if status >= FAILED:
                span.set_status(self._trace.StatusCode.ERROR)
            span.end()

        return ended

    def watch(self, engine: AsyncEngine) -> None:
        """Make a span of each statement that an engine's connections run, through SQLAlchemy or past it."""
        sync = engine.sync_engine
        event.listen(sync, "before_cursor_execute", _begin)
        event.listen(sync, "after_cursor_execute", self._end)
        event.listen(sync, "handle_error", self._fail)
        event.listen(sync, "connect", lambda connection, _: connection.driver_connection.add_query_logger(self._logged))

    def close(self) -> None:
        """Send what is left, and end. It may wait for the collector."""
        self._provider.shutdown()

    def _end(self, connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        self._statement(statement, connection.info.pop(BEGAN, time.time_ns()), time.time_ns(), None)

    def _fail(self, failed: Any) -> None:
        if failed.connection is not None and failed.statement is not None:
            began = failed.connection.info.pop(BEGAN, time.time_ns())
            self._statement(failed.statement, began, time.time_ns(), failed.original_exception)

    def _logged(self, query: Any) -> None:
        """What the driver was asked past SQLAlchemy; it calls this in the context of who asked."""
        now = time.time_ns()
        self._statement(query.query, now - int(query.elapsed * NANOSECONDS), now, query.exception)

    def _statement(self, sql: str, began: int, ended: int, error: BaseException | None) -> None:
        verb = sql.split(None, 1)[0].upper().rstrip(";") if sql.strip() else ""
        attributes = {"db.system.name": "postgresql", "db.operation.name": verb, "db.query.text": without_values(sql)}
        span = self._tracer.start_span(verb, kind=self._trace.SpanKind.CLIENT, attributes=attributes, start_time=began)
        if error is not None:
            span.set_status(self._trace.StatusCode.ERROR)
            span.set_attribute("error.type", getattr(error, "sqlstate", None) or type(error).__name__)
        span.end(ended)


def _begin(connection: Any, *_: Any) -> None:
    connection.info[BEGAN] = time.time_ns()
