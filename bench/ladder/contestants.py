"""Who climbs the ladder: how each one is started, and how it is asked for the same rows."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from bench.ladder.data import PAGE, categories
from bench.ladder.wrk import Asked

W1, W2, W3 = "W1", "W2", "W3"
W4_ROW, W4_LIST, W4_SAME = W4 = ("W4-row", "W4-list", "W4-304")
"""A row and a list again that were asked for a moment ago, and a row by who has it already; with a cache and without one."""
HOT_ROWS, HOT_CATEGORIES = 1000, 100
"""What W4 draws from: so little that all of it is kept after a second."""
SECRET = "ladder-" * 6
BODY = '{"category": 7, "name": "Item inserted %d", "price": 12.5, "attrs": {"color": "red", "size": 3, "tags": ["a1", "b2"]}}'
OFFSET = "&offset="
PROFILED = "bench.ladder.profiling"


@dataclass(frozen=True)
class Contestant:
    """A server.

    Attributes:
        name: what it is asked for by, and what stands in the results.
        title: what it is, in a few words.
        factory: its application, as uvicorn names it; empty for this service, which has a command.
        workloads: what it is measured by.
        everywhere: whether it is measured at every number of connections, and with two processes.
        prefix: what stands before `/items`.
        cursors: whether later pages are asked for by cursor; else by offset.
        environment: what its process is told.
        listing: what a list must be told besides, to begin with the first row in the order of keys; the offset comes last.
        rows: whether it answers rows; else constant bytes.
        slow: whether a request reads the whole table.
        body: what W3 sends.
    """

    name: str
    title: str
    factory: str = ""
    workloads: tuple[str, ...] = (W1, W2, W3)
    everywhere: bool = False
    prefix: str = ""
    cursors: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    listing: str = ""
    rows: bool = True
    slow: bool = False
    body: str = BODY

    def asked(self, workload: str, headers: Mapping[str, str], rows: int) -> Asked:
        """A workload as this one is asked for it."""
        asked = {
            W1: Asked(f"{self.prefix}/items/%d", 1, rows),
            W2: Asked(f"{self.prefix}/items?category=%d&limit={PAGE}{self.listing}", 1, categories(rows)),
            W3: Asked(f"{self.prefix}/items", 1, rows, method="POST", body=self.body, status=201),
        }
        asked[W4_ROW] = asked[W4_SAME] = replace(asked[W1], greatest=min(HOT_ROWS, rows))
        asked[W4_LIST] = replace(asked[W2], greatest=min(HOT_CATEGORIES, categories(rows)))
        return replace(asked[workload], headers=headers)

    def command(self, port: int, processes: int, python: str = sys.executable, profile: str | None = None) -> list[str]:
        """What starts it; with a profile, what writes one to that file when it ends."""
        run = [python, "-m", *([PROFILED, profile] if profile else [])]
        if not self.factory:
            return [*run, "bench.ladder.apps.shelfmark", "serve"]
        options = ["--port", str(port), "--workers", str(processes), "--loop", "uvloop", "--http", "httptools"]
        return [*run, "uvicorn", "--factory", self.factory, *options, "--no-access-log", "--log-level", "warning"]

    def told(self, port: int, processes: int, database: str, redis: str | None) -> dict[str, str]:
        """The environment of its process."""
        told = {"DATABASE_URL": database, **self.environment}
        if self.factory:
            return told
        ours = {"REDIS_URL": redis or "", "SHELFMARK_PORT": str(port), "WEB_CONCURRENCY": str(processes)}
        return SETTINGS | told | ours


SETTINGS = {
    "SHELFMARK_SECRETS": SECRET,
    "SHELFMARK_KEY_REQUESTS_PER_SECOND": "1000000",
    "SHELFMARK_KEY_REQUESTS_BURST": "1000000",
    "SHELFMARK_LAG_MS": "1000",
    "SHELFMARK_DRAIN_SECONDS": "0",
    "SHELFMARK_LOG_FORMAT": "json",
    "SHELFMARK_CACHE": "false",
}
"""Limits are on, and so high that the load generator doesn't reach them; the lag too, as it shares the processors with the service.
The cache is off but where it is what is measured. All else is as it comes."""
OURS: dict[str, object] = {"prefix": "/v1", "cursors": True, "body": BODY.replace("12.5,", '"12.5",')}
APPS, CACHED = "bench.ladder.apps", "shelfmark-cached"
CONTESTANTS = (
    Contestant("blog", "FastAPI + asyncpg pool + index, by hand", f"{APPS}.blog:app", everywhere=True),
    Contestant("blog-typed", "the same, with return types, so that pydantic writes the JSON", f"{APPS}.blog:typed"),
    Contestant("blog-no-pool", "the same, a connection for each request", f"{APPS}.blog:without_pool", (W1, W2)),
    Contestant("blog-no-index", "the same, with a pool and no index", f"{APPS}.blog:without_index", (W1, W2), slow=True),
    Contestant("orm", "FastAPI + async ORM + response_model", f"{APPS}.orm:app"),
    Contestant("fastcrud", "FastCRUD, as its docs set it up", f"{APPS}.fastcrud:app", listing=f"&sort=id{OFFSET}0"),
    Contestant("shelfmark", "this service: keys, limits, lane", workloads=(W1, W2, W3, *W4), everywhere=True, **OURS),  # type: ignore[arg-type]
    Contestant(
        CACHED,
        "this service, with what it is asked kept in Redis",
        workloads=(W3, *W4),
        environment={"SHELFMARK_CACHE": "true"},
        **OURS,  # type: ignore[arg-type]
    ),
    Contestant(
        "shelfmark-no-lane",
        "this service, answered by FastAPI's router",
        environment={"SHELFMARK_EXPRESS_LANE": "false"},
        **OURS,  # type: ignore[arg-type]
    ),
    Contestant("constant", "constant bytes, bare ASGI", f"{APPS}.constant:app", (W1, W2), rows=False),
    Contestant("not-modified", "an empty 304, bare ASGI", f"{APPS}.constant:not_modified", (W1,), rows=False),
)
BY_NAME = {one.name: one for one in CONTESTANTS}
