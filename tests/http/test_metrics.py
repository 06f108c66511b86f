"""`GET /metrics`: who may read it, what stands there, in several processes, and as a real Prometheus reads it."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr
from structlog.testing import capture_logs

from service.app import create_app
from service.db import Database
from service.http.measured import FAMILIES
from service.settings import Settings
from tests.docs.pages import ROOT
from tests.factories.books import BookFactory
from tests.faults.served import Serving, served
from tests.fixtures.application import client_of
from tests.fixtures.keys import ADMIN, bearer, granted
from tests.fixtures.processes import members, running, until, unused_port

PAGE = ROOT / "docs" / "reference" / "metrics.md"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
LIVE = ("shelfmark_requests_total", (("lane", "routes"), ("method", "GET"), ("route", "/livez"), ("status", "2xx")))


def samples(text: str) -> Samples:
    """Every sample, as Prometheus's own parser reads it; none stands there twice."""
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def scraped(serving: Serving, key: str = ADMIN) -> Samples:
    """What a running service tells."""
    answer = httpx.get(f"{serving.base}/metrics", headers=bearer(key))
    assert answer.status_code == 200, answer.text
    return samples(answer.text)


async def test_every_number_has_its_name(app: FastAPI, client: AsyncClient) -> None:
    book = await BookFactory.create()
    for path in (f"/v1/books/{book.id}", "/v1/books", "/v1/books?title=It", "/nothing"):
        await client.get(path)
    answer = await client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found = samples(answer.text)
    route = (("lane", "express"), ("method", "GET"), ("route", "/v1/books/{id}"))
    assert found["shelfmark_requests_total", (*route, ("status", "2xx"))] == 1
    assert found["shelfmark_request_seconds_count", route] == 1
    assert found["shelfmark_questions_refused_total", (("path", ""), ("table", "books"))] == 1
    assert found["shelfmark_problems_total", (("problem", "not-served"),)] == 1
    assert found["shelfmark_question_seconds_count", (("path", "pk_books"), ("table", "books"))] == 1
    assert found["shelfmark_processes", ()] == 1
    assert found["shelfmark_process_resident_bytes", ()] > 10_000_000
    assert found["shelfmark_requests_running", ()] == 1, "the one that asks"


async def test_histograms_grow_from_bound_to_bound(app: FastAPI, client: AsyncClient) -> None:
    await client.get("/v1/books")
    found = samples((await client.get("/metrics")).text)
    series: dict[str, list[tuple[float, float]]] = {}
    for (name, labels), value in found.items():
        if name.endswith("_bucket"):
            others = [pair for pair in labels if pair[0] != "le"]
            series.setdefault(f"{name}{others}", []).append((float(dict(labels)["le"]), value))
    assert len(series) > 5
    for bounds in series.values():
        assert [value for _, value in sorted(bounds)] == sorted(value for _, value in bounds)
        assert max(bounds)[0] == float("inf")


async def test_who_may_read_them(app: FastAPI, committed: Database, settings: Settings) -> None:
    """Not everybody, nor who may read all tables: a key with the scope for it, or who may do everything."""
    app = create_app(settings, committed)
    for scopes, status in [(("metrics",), 200), (("*:read", "*:write", "docs:read"), 403), (("admin",), 200)]:
        async with client_of(app, await granted(committed, *scopes)) as client:
            assert (await client.get("/metrics")).status_code == status, scopes
    async with client_of(app, key=None) as stranger:
        assert (await stranger.get("/metrics")).status_code == 401


async def test_openmetrics_where_it_is_asked_for(client: AsyncClient) -> None:
    answer = await client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")


async def test_under_any_name(settings: Settings, committed: Database) -> None:
    """Who reads them knows an address only; without a key, no name helps."""
    app = create_app(settings.model_copy(update={"hosts": ("api.example.org",)}), committed)
    async with client_of(app) as client:
        assert (await client.get("/metrics", headers={"Host": "10.0.0.7"})).status_code == 200
        assert (await client.get("/v1/books", headers={"Host": "10.0.0.7"})).status_code == 421


async def test_while_the_database_is_away_a_key_does_that_was_good_before(committed: Database, settings: Settings) -> None:
    """That is when the numbers are wanted. It opens nothing else, and a key that was never seen nothing at all."""
    app = create_app(settings, committed)
    other = await granted(committed, "admin")
    async with client_of(app) as client:
        assert (await client.get("/metrics")).status_code == 200
        known = app.state.keyring.known[bearer(ADMIN)["Authorization"].encode()]
        known.until = 0.0
        app.state.keyring._database = create_app(  # noqa: SLF001  # one that is away
            settings.model_copy(update={"database_url": SecretStr("postgresql+asyncpg://u@127.0.0.1:1/x")})
        ).state.service.database
        assert (await client.get("/metrics")).status_code == 200
        assert (await client.get("/v1/books")).status_code == 503
        assert (await client.get("/metrics", headers=bearer(other))).status_code == 503


async def test_processes_that_cannot_meet_serve_all_the_same(settings: Settings, committed: Database, tmp_path: Path) -> None:
    """The numbers of one alone would be wrong, so nobody is told any."""
    (tmp_path / "file").touch()
    app = create_app(settings.model_copy(update={"metrics_directory": tmp_path / "file" / "x"}), committed)
    with capture_logs() as logs:
        async with app.router.lifespan_context(app), client_of(app) as client:
            assert (await client.get("/metrics")).status_code == 503
            assert (await client.get("/v1/books")).status_code == 200
    assert {line["event"] for line in logs if line["log_level"] == "warning"} >= {"numbers can't be shared"}


async def test_they_are_written_down_for_the_others_each_second_and_at_the_end(
    settings: Settings, committed: Database, tmp_path: Path
) -> None:
    shared = settings.model_copy(update={"metrics_directory": tmp_path})
    app = create_app(shared, committed)
    async with app.router.lifespan_context(app), client_of(app) as client:
        await client.get("/livez")
    other = create_app(shared, committed)
    async with other.router.lifespan_context(other), client_of(other) as client:
        await client.get("/livez")
        assert samples((await client.get("/metrics")).text)[LIVE] == 2


def test_the_page_lists_them() -> None:
    """Name, kind, labels and meaning, as they are."""
    rows = re.findall(r"^\| `(shelfmark_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    assert rows == [
        (family.name, family.kind, ", ".join(f"`{label}`" for label in family.labels) or "&nbsp;", family.help)
        for family in FAMILIES
    ]


def test_names_follow_prometheus() -> None:
    """Counters end in _total, times are seconds, and no label's name is one that Prometheus itself sets."""
    for family in FAMILIES:
        assert family.name.endswith("_total") == (family.kind == "counter"), family.name
        assert not re.search(r"_(ms|milliseconds|us|kb|mb)\b", family.name)
        assert not {"le", "quantile", "job", "instance"} & set(family.labels)
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)


def asks(serving: Serving, times: int) -> None:
    """So many requests, each on a connection of its own, so that all processes have some."""
    for _ in range(times):
        assert httpx.get(f"{serving.base}/livez").status_code == 200


def test_several_processes_are_one_service(own_database: str) -> None:
    """Whichever is asked tells of all, and never less than was told before, though one is killed and replaced."""
    with served(own_database, WEB_CONCURRENCY="2") as serving:
        until(lambda: scraped(serving)["shelfmark_processes", ()] == 2)
        before = scraped(serving).get(LIVE, 0)
        asks(serving, 40)
        until(lambda: scraped(serving)[LIVE] == before + 40)
        victim = workers(serving)[0]
        subprocess.run(["kill", "-9", str(victim)], check=True)
        last = 0.0
        until(lambda: victim not in workers(serving) and len(workers(serving)) == 2)
        for _ in range(20):
            found = scraped(serving)[LIVE]
            assert found >= max(last, before + 40)
            last = found
        until(lambda: scraped(serving)["shelfmark_processes", ()] == 2)


def workers(serving: Serving) -> list[int]:
    """The processes that answer: the first one's children that have the service's socket open."""
    first = serving.run.process.pid
    found = []
    for process in members(first):
        words = Path(f"/proc/{process}/cmdline").read_bytes() if Path(f"/proc/{process}").exists() else b""
        if process != first and b"spawn_main" in words:
            found.append(process)
    return sorted(found)


@contextmanager
def prometheus(folder: Path, serving: Serving) -> Iterator[str]:
    """A Prometheus that scrapes a service twice a second; its address."""
    (folder / "key").write_text(ADMIN)
    port = unused_port()
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 500ms, scrape_timeout: 500ms}\n"
        "scrape_configs:\n"
        "  - job_name: shelfmark\n"
        f"    authorization: {{credentials_file: {folder / 'key'}}}\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{serving.port}']}}]\n"
    )
    command = [
        str(shutil.which("prometheus")),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with running(folder, *command) as run:
        base = f"http://127.0.0.1:{port}"
        until(lambda: run.process.poll() is None and ready(base), run.said)
        yield base


def ready(base: str) -> bool:
    """Whether a Prometheus answers."""
    try:
        return httpx.get(f"{base}/-/ready").status_code == 200
    except httpx.TransportError:
        return False


def queried(base: str, query: str) -> list[float]:
    """What a Prometheus says to a query."""
    answer = httpx.get(f"{base}/api/v1/query", params={"query": query}).json()
    assert answer["status"] == "success", answer
    return [float(one["value"][1]) for one in answer["data"]["result"]]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus isn't installed: apt-get install prometheus")
def test_a_real_prometheus_reads_two_processes(own_database: str, tmp_path: Path) -> None:
    """It takes every scrape, sees no counter go back though a process is killed, and reckons rates and quantiles."""
    route = 'route="/v1/books"'
    with served(own_database, WEB_CONCURRENCY="2", SHELFMARK_PUBLIC_READ="books") as serving, prometheus(tmp_path, serving) as base:
        until(lambda: queried(base, "shelfmark_processes") == [2])
        for number in range(200):
            assert httpx.get(f"{serving.base}/v1/books").status_code == 200
            if number == 100:
                subprocess.run(["kill", "-9", str(workers(serving)[0])], check=True)
                until(lambda: len(workers(serving)) == 2)
        until(lambda: queried(base, f"sum(shelfmark_requests_total{{{route}}})") == [200] or kept(base, route) >= 190)
        assert queried(base, f"resets(shelfmark_requests_total{{{route}}}[5m])") == [0]
        assert queried(base, "min_over_time(up[5m])") == [1], "each scrape was answered, and understood"
        (median,) = queried(base, f"histogram_quantile(0.5, sum by (le) (shelfmark_request_seconds_bucket{{{route}}}))")
        assert 0 < median < 1
        assert queried(base, 'sum(shelfmark_question_seconds_count{table="books"})')[0] >= 190
        assert queried(base, 'count(shelfmark_pool_wait_seconds_bucket{pool="reads"})') == [20]
        assert queried(base, "rate(shelfmark_process_cpu_seconds_total[5m])")[0] > 0
        assert [one["health"] for one in httpx.get(f"{base}/api/v1/targets").json()["data"]["activeTargets"]] == ["up"]
    check = shutil.which("promtool")
    if check:
        with served(own_database) as serving:
            text = httpx.get(f"{serving.base}/metrics", headers=bearer(ADMIN)).content
        done = subprocess.run([check, "check", "metrics"], input=text, capture_output=True, check=False)
        assert done.returncode == 0, done


def kept(base: str, route: str) -> float:
    """The requests that a Prometheus knows of: what a killed process counted since it last wrote it down is lost."""
    return sum(queried(base, f"sum(shelfmark_requests_total{{{route}}})"))
