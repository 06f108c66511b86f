"""The worker, put together: jobs, their slots, the relay, the cache that its writes have forgotten, and arq, which wakes it.

`shelfmark worker` runs it, and begins arq anew whenever Redis comes back. `arq service.worker.WorkerSettings` works as well, as
arq's users expect; then arq ends with the first error of Redis, and whatever supervises it has to start it again.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, cast

import structlog
from arq.connections import ArqRedis
from arq.worker import Worker as ArqWorker
from arq.worker import func
from redis.exceptions import RedisError
from sqlalchemy import text

from service import schema, settings
from service.background import beside, ended
from service.cache.caching import Cache
from service.db import Database, feed
from service.db.budget import offered, refuse_excess, sizes, slots_of
from service.db.catalogue import Catalogue
from service.errors import Problem, SetupError
from service.http import measured
from service.http.metrics import Metrics
from service.http.spooling import exports_of
from service.jobs.backlog import Backlog
from service.jobs.folder import check_directory
from service.jobs.handing import FUNCTION, SERIALIZING, Handing, forget, queue, redis_settings
from service.jobs.job import Job
from service.jobs.links import Links
from service.jobs.relay import Relay
from service.jobs.scheduling import Schedules
from service.jobs.shaping import Imports
from service.jobs.slots import Slots
from service.jobs.spool import Spool
from service.jobs.spooling import Exports
from service.jobs.transitions import HANDED_SECONDS
from service.local.urls import database_url, redis_url
from service.migrations.running import new_engine
from service.settings import Section, Settings
from service.telemetry import configure_logging

PATIENCE_SECONDS = 10.0
"""For which a job waits for a connection: nobody stands before it."""
POLL_SECONDS = 0.05
HEALTH_SECONDS = 5
READ_AT_ONCE = 1_000
"""Messages of the queue that arq looks at: those that others are about to take stand before those that are new."""
A_DAY = 86_400
"""After which arq lets go of a run; the run itself goes on, and keeps its slot."""
MANY = "a worker with as many slots as connections to write may be late to renew leases: set SHELFMARK_WRITE_POOL_SIZE"
AGAIN_SECONDS = 0.5
LOOK_SECONDS = 1.0
NO_TABLE = "The database has no table of jobs yet. Run `shelfmark migrate` first."
NO_REDIS = "REDIS_URL is not set. Workers are woken through Redis: set it to redis://host:6379/0, or start `shelfmark up`."
log = structlog.get_logger(__name__)


class Working:
    """One worker process: what it holds, and its parts.

    Args:
        loaded: its settings.
        queue_name: of the queue in Redis that belongs to the database.
        slots: how many jobs it runs at the same time; None: as many as its connections allow; 0: it only hands out.
    """

    def __init__(self, loaded: Settings, queue_name: str, slots: int | None = None) -> None:
        self.settings, self.queue_name = loaded, queue_name
        self.database = Database.connect(database_url(loaded), loaded)
        self.database.catalogue = Catalogue(schema.models())
        self.cache = Cache.of(loaded, redis_url(loaded), schema.kept(loaded))
        self.database.caches = self.cache.dropping if self.cache else None
        self.jobs: Mapping[str, Job[Any]] = schema.jobs()
        things = things_of(self.database, loaded, {kind: settings.section(kind) for kind in schema.sections()})
        self.slots = Slots(self.database, self.jobs, room(loaded) if slots is None else slots, things)
        self.handing = Handing(lambda: queue(str(redis_url(loaded)), queue_name))
        backlog = Backlog()
        chores = (Schedules(schema.schedules(), loaded.job_keep_days), self.handing, backlog)
        self.relay = Relay(database_url(loaded, direct=True), [self.handing], chores)
        self.slots.ended = self.relay.wake
        counting = [self.slots.told, self.relay.told, backlog.told, measured.of_process]
        self.metrics = Metrics(counting, loaded.metrics_directory)
        self._hears = True
        if self.slots.most >= sizes(loaded).writes > 1:
            log.warning(MANY, slots=self.slots.most, writes=sizes(loaded).writes)

    @asynccontextmanager
    async def kept(self) -> AsyncIterator[None]:
        """All but arq, for as long as the block lasts; runs then have the grace to end."""
        async with AsyncExitStack() as until_then:
            until_then.push_async_callback(self.database.close)
            until_then.push_async_callback(self.handing.aclose)
            until_then.push_async_callback(self.relay.aclose)
            await until_then.enter_async_context(self.metrics.kept())
            await until_then.enter_async_context(self.database.kept(self._budgeted))
            await until_then.enter_async_context(self.database.outbox.nudge.kept(self.database))
            await until_then.enter_async_context(self.database.catalogue.watching(self.database))
            if self.cache:
                await until_then.enter_async_context(self.cache.running(self.database))
            await until_then.enter_async_context(beside(self.relay.run(), "relay"))
            await until_then.enter_async_context(self.slots.kept(self.settings.job_grace_seconds))
            yield

    async def listen(self) -> None:
        """Be woken through Redis, for ever: arq ends with any error of its server, or with a message that it can't read."""
        while True:
            redis = queue(str(redis_url(self.settings)), self.queue_name)
            arq = ArqWorker(redis_pool=redis, handle_signals=False, **self.listening())
            try:
                await arq.async_run()
            except Exception as error:  # noqa: BLE001  # whatever it is, arq is begun anew
                if self._hears:
                    log.warning("nobody can be woken through Redis; what runs goes on", reason=str(error) or type(error).__name__)
                self._hears = False
            finally:
                await asyncio.shield(_let_go(arq, redis))
            await asyncio.sleep(AGAIN_SECONDS)

    def listening(self) -> dict[str, Any]:
        """What arq is told, however it is started.

        arq keeps others off a message for as long as its function may take, from when it was picked up, and where its worker is
        killed then, too. That is fixed when arq begins. So it is told of a short time first, and that a run may take long after.
        """
        perform = func(cast("Any", self._perform), name=FUNCTION, timeout=HANDED_SECONDS, keep_result=0, max_tries=1)

        async def begun(_ctx: dict[str, Any]) -> None:
            perform.timeout_s = A_DAY
            self._hears = True

        return {
            "functions": [perform],
            "on_startup": begun,
            "queue_name": self.queue_name,
            "max_jobs": max(self.slots.most, 1),
            "queue_read_limit": READ_AT_ONCE,
            "poll_delay": POLL_SECONDS,
            "keep_result": 0,
            "max_tries": 1,
            "retry_jobs": False,
            "health_check_interval": HEALTH_SECONDS,
            "health_check_key": f"{self.queue_name}:health:{socket.gethostname()}",
            "log_results": False,
            **SERIALIZING,
        }

    async def _perform(self, ctx: dict[str, Any], job_id: int, claim: int) -> None:
        with suppress(RedisError, OSError, TimeoutError):  # it was heard all the same
            await forget(ctx["redis"], ctx["job_id"])
        await self.slots.take((int(job_id), int(claim)))

    async def _budgeted(self) -> None:
        if not self.settings.pooler:
            async with self.database.aside() as session:
                refuse_excess(self.settings, await offered(session))


async def work(loaded: Settings, stop: asyncio.Event, slots: int | None = None) -> None:
    """Work until told to stop.

    Args:
        loaded: the settings.
        stop: is set when it is to end.
        slots: as for `Working`.

    Raises:
        SetupError: a setting is missing, or the database has no jobs.
    """
    logging.getLogger("arq").setLevel(logging.CRITICAL)  # what there is to say of jobs is said here
    working = Working(loaded, await queue_of(loaded), slots)
    async with working.kept():
        log.info("a worker has begun", slots=working.slots.most, jobs=len(working.jobs))
        if working.slots.most:
            async with beside(working.listen(), "arq"):
                await stop.wait()
        else:
            await stop.wait()
        log.info("the worker ends", running=working.slots.running)


def of_worker(loaded: Settings) -> Settings:
    """The settings of a worker's own process: it counts itself, and has time.

    Raises:
        SetupError: there is no Redis to be woken through, or files can't be kept where they are to be.
    """
    if redis_url(loaded) is None:
        raise SetupError(NO_REDIS)
    check_directory(loaded.spool_directory)
    return loaded.model_copy(update={"pool_wait_seconds": PATIENCE_SECONDS, "job_workers": max(1, loaded.job_workers)})


def room(loaded: Settings) -> int:
    """How many jobs a worker runs at the same time."""
    return slots_of(loaded, sizes(loaded))


def things_of(database: Database, loaded: Settings, sections: Mapping[type[Section], Section]) -> dict[type, Any]:
    """What the functions of jobs may use, by type."""
    exports = exports_of(schema.tables_served(), database, loaded, sections.__getitem__)
    own = {Spool: Spool.of(database, loaded), Imports: schema.imports(), Exports: exports, Links: Links.of(loaded)}
    return {Settings: loaded, **sections, **own}


async def queue_of(loaded: Settings) -> str:
    """The name of the queue that belongs to the configured database: several may share one Redis.

    Raises:
        SetupError: the database can't be reached, or wasn't migrated.
    """
    engine = new_engine(database_url(loaded, direct=True))
    try:
        async with engine.begin() as connection:
            if await connection.scalar(text("SELECT to_regclass('shelfmark_jobs')")) is None:
                raise SetupError(NO_TABLE)
            await feed.ensure(connection, [])
            return f"shelfmark:jobs:{await feed.name_of(connection)}"
    finally:
        await engine.dispose()


async def until_migrated(loaded: Settings, stop: asyncio.Event) -> None:
    """Wait until the database has what jobs need, or until told to stop."""
    while not stop.is_set():
        with suppress(SetupError, Problem, TimeoutError):
            await queue_of(loaded)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), LOOK_SECONDS)


async def _let_go(arq: ArqWorker, redis: ArqRedis) -> None:
    """Let go of what arq still waits for, and of its connections; the runs behind it go on."""
    await asyncio.gather(*map(ended, arq.tasks.values()))
    await asyncio.gather(*arq.tasks.values(), return_exceptions=True)  # nobody else looks at what went wrong
    with suppress(RedisError, OSError, TimeoutError):
        await redis.aclose(close_connection_pool=True)


def _arq_settings() -> type:
    """What arq's own command line reads."""
    loaded = of_worker(settings.load())
    configure_logging(loaded)
    working = Working(loaded, asyncio.run(queue_of(loaded)))
    held = AsyncExitStack()

    told, url = working.listening(), str(redis_url(loaded))
    begun = told["on_startup"]

    async def begin(ctx: dict[str, Any]) -> None:
        await held.enter_async_context(working.kept())
        await begun(ctx)

    async def end(_ctx: dict[str, Any]) -> None:
        await held.aclose()

    told |= {"on_startup": begin, "on_shutdown": end}
    told |= {"redis_pool": queue(url, working.queue_name), "redis_settings": redis_settings(url)}  # the latter is for `arq --check`
    return type("WorkerSettings", (), told)


def __getattr__(name: str) -> Any:
    """`WorkerSettings`, made when arq asks for it: it needs settings and a database, an import doesn't."""
    if name == "WorkerSettings":
        return _arq_settings()
    raise AttributeError(name)
