"""`GET /metrics`: what the service counts, all of its processes together, as Prometheus reads it.

Nothing is counted here. Whoever counts keeps numbers of their own, and is asked for them when somebody wants to know; in a service
of several processes also each second, for the others (`telemetry/sharing.py`). `FAMILIES` lists all there are;
docs/reference/metrics.md says the same for people.

Numbers tell what is asked of the service and by how many, so they are not for everybody: a key needs the scope `metrics`.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from typing import cast

import structlog
from fastapi import APIRouter, Request
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from service.background import beside
from service.errors import Unavailable
from service.http.measured import FAMILIES
from service.http.scopes import METRICS, Declared, needs
from service.telemetry.counting import Family, Numbers, Source, gathered
from service.telemetry.sharing import Shared

PUBLISH_SECONDS = 1.0
APART = "The numbers of the service's other processes can't be had at the moment. Try again; the log says why."
BY_NAME = {family.name: family for family in FAMILIES}
log = structlog.get_logger(__name__)


class Metrics:
    """What one process can tell.

    Args:
        sources: who counts.
        directory: where the service's processes meet; None: there is only this one.
    """

    def __init__(self, sources: list[Source], directory: Path | None = None) -> None:
        self._sources = sources
        self._shared = Shared(directory, BY_NAME) if directory else None
        self._turns = count()

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """Let the other processes know what this one counts, for as long as the block lasts, and all of it when it ends."""
        shared = self._shared
        if shared is None:
            yield
            return
        with _warning():
            await asyncio.to_thread(shared.open)
        try:
            async with beside(self._keep(shared), "metrics"):
                yield
        finally:
            with _warning():
                await asyncio.to_thread(shared.publish, gathered(self._sources), next(self._turns))
            shared.close()

    async def exposed(self, accept: str) -> tuple[bytes, str]:
        """All numbers in the format that a client accepts, and that format's media type.

        Raises:
            Unavailable: those of other processes can't be had.
        """
        numbers, turn = gathered(self._sources), next(self._turns)
        try:
            return await asyncio.to_thread(self._written, numbers, turn, accept)
        except OSError as error:
            log.warning("numbers can't be shared", reason=str(error))
            raise Unavailable(APART) from error

    def _written(self, numbers: Numbers, turn: int, accept: str) -> tuple[bytes, str]:
        """In a thread: it takes some milliseconds, and may wait for a disk."""
        if self._shared:
            numbers = self._shared.all(numbers, turn)
        registry = CollectorRegistry()
        registry.register(_Collected(numbers))
        encode, media_type = choose_encoder(accept)
        return encode(registry), media_type

    async def _keep(self, shared: Shared) -> None:
        quiet = False
        while True:
            try:
                await asyncio.to_thread(shared.publish, gathered(self._sources), next(self._turns))
                quiet = False
            except OSError as error:
                if not quiet:  # once, until it works again
                    log.warning("numbers can't be shared", reason=str(error))
                quiet = True
            await asyncio.sleep(PUBLISH_SECONDS)


class _Collected(Collector):
    """Numbers as prometheus-client takes them."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[Metric]:
        """Each family that has numbers."""
        for family in FAMILIES:
            series = self._numbers.get(family.name, {})
            if series:
                made = _empty(family)
                for labels, numbers in sorted(series.items()):
                    if isinstance(made, HistogramMetricFamily):
                        made.add_metric(labels, _cumulated(family, numbers), numbers[-1])
                    else:
                        made.add_metric(labels, numbers[0])
                yield made


def _empty(family: Family) -> CounterMetricFamily | GaugeMetricFamily | HistogramMetricFamily:
    match family.kind:
        case "counter":
            return CounterMetricFamily(family.name, family.help, labels=family.labels)
        case "gauge":
            return GaugeMetricFamily(family.name, family.help, labels=family.labels)
        case "histogram":
            return HistogramMetricFamily(family.name, family.help, labels=family.labels)


def _cumulated(family: Family, numbers: list[float]) -> list[tuple[str, float]]:
    """A histogram's counts as Prometheus has them: each with all below it."""
    below, found = 0.0, []
    for bound, times in zip([*map(repr, family.bounds), "+Inf"], numbers[:-1], strict=True):
        below += times
        found.append((bound, below))
    return found


@contextmanager
def _warning() -> Iterator[None]:
    """A service whose processes can't share numbers serves all the same."""
    try:
        yield
    except OSError as error:
        log.warning("numbers can't be shared", reason=str(error))


def metrics() -> APIRouter:
    """The route."""
    router = APIRouter(tags=["health"], route_class=Declared)

    @router.get("/metrics", summary="What is counted, for Prometheus", response_class=PlainTextResponse)
    @needs(METRICS)
    async def exposed(request: Request) -> Response:
        """All processes' numbers together. It needs the scope `metrics`."""
        content, media_type = await cast("Metrics", request.app.state.metrics).exposed(request.headers.get("accept", ""))
        return Response(content, media_type=media_type)

    return router
