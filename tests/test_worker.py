"""A worker, put together: woken through Redis, whatever is in there; ended in order; and as users of arq know it."""

import asyncio
import os
import pickle
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import serialize_job
from arq.worker import Worker as ArqWorker
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import text

from service import worker
from service.background import beside
from service.db import Database
from service.errors import SetupError
from service.jobs import slots as slots_module
from service.jobs.handing import packed, queue
from service.jobs.job import Job, enqueue
from service.jobs.running import Run
from service.local import programs
from service.local.accounts import Account
from service.local.urls import database_url as url_of
from service.local.urls import redis_url
from service.settings import Settings
from service.worker import Working, of_worker, queue_of, room, until_migrated
from tests.fixtures.databases import settings_of
from tests.fixtures.processes import BIN, REPOSITORY, SECRET, running
from tests.fixtures.servers import Servers
from tests.jobs.errands import JOBS, authors, row, wait, write
from tests.waiting import until

SLOTS = 2


class Touched:
    """What a pickle does to whoever reads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is done now and then is done sooner."""
    monkeypatch.setattr(slots_module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(worker, "AGAIN_SECONDS", 0.05)


@contextmanager
def own_redis() -> Iterator[tuple[str, "OwnRedis"]]:
    """A Redis server that a test may kill; its URL."""
    with TemporaryDirectory(prefix="sm-", dir="/tmp") as directory:
        server = OwnRedis(Path(directory))
        server.start()
        try:
            yield f"unix://{directory}/redis.sock", server
        finally:
            server.kill()


class OwnRedis:
    """A Redis server, without anything kept."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Begin it, empty."""
        program = str(programs.redis(Account(os.getuid(), os.getgid(), switch=False)))
        words = ["--port", "0", "--unixsocket", f"{self._directory}/redis.sock", "--save", "", "--dir", str(self._directory)]
        self._process = subprocess.Popen([program, *words], stdout=subprocess.DEVNULL)

    def kill(self) -> None:
        """End it as an accident would."""
        if self._process:
            self._process.kill()
            self._process.wait()


async def ready(url: str) -> None:
    """Wait until a Redis server answers."""
    redis = Redis.from_url(url)

    async def answers() -> bool:
        try:
            return bool(await redis.ping())
        except (OSError, RedisError):
            return False

    await until(answers)
    await redis.aclose()


def given(database_url: str, redis_url: str, **more: object) -> Settings:
    """A worker's settings."""
    return of_worker(settings_of(database_url, redis_url=redis_url, job_grace_seconds=0.2, **more))


@asynccontextmanager
async def working(loaded: Settings, jobs: dict[str, Job[Any]] | None = None, slots: int = SLOTS) -> AsyncIterator[Working]:
    """A worker in this process."""
    made = Working(loaded, await queue_of(loaded), slots)
    made.jobs = made.slots._jobs = jobs or JOBS  # noqa: SLF001
    async with made.kept(), AsyncExitStack() as until_then:
        if slots:
            await until_then.enter_async_context(beside(made.listen(), "arq"))
        yield made


async def asked(database: Database, work: Job[Any], **named: Any) -> int:
    """A job, asked for."""
    async with database.writing():
        return await enqueue(work, **named)


async def is_done(database: Database, id_: int) -> bool:
    """Whether a job is done."""
    return (await row(database, id_)).state == "done"


@pytest.fixture
async def redis(committed: Database, database_url: str, servers: Servers) -> AsyncIterator[ArqRedis]:
    """The queue of the test's database."""
    assert committed
    made = queue(servers.redis, await queue_of(settings_of(database_url, redis_url=servers.redis)))
    yield made
    async for key in made.scan_iter(match=f"*{made.default_queue_name}*"):
        await made.delete(key)
    await made.aclose(close_connection_pool=True)


async def test_what_is_asked_for_is_done_and_nothing_is_left_in_redis(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis
) -> None:
    async with working(given(database_url, servers.redis)) as made:
        ids = [await asked(committed, write, names=[f"{turn}"]) for turn in range(12)]
        for id_ in ids:
            await until(lambda id_=id_: is_done(committed, id_))  # type: ignore[misc]
        assert sorted(await authors(committed)) == sorted(f"{turn}" for turn in range(12))
        health = f"{redis.default_queue_name}:health:"
        await until(lambda: _no_keys_but(redis, health))
        assert await redis.keys(f"{health}*")
        assert ("shelfmark_job_runs_total", ("test.write", "done"), [12]) in list(made.slots.told())


async def test_a_job_that_asks_for_another_wakes_who_hands_out(committed: Database, database_url: str, servers: Servers) -> None:
    async def ask(_run: Run) -> int:
        async with _run.chunk():
            return await enqueue(write, names=["asked for"])

    first: Job[Any] = Job("test.ask", ask)
    async with working(given(database_url, servers.redis), {**JOBS, first.name: first}) as made:
        await asked(committed, first)
        await until(lambda: _authors_are(committed, ["asked for"]))
        assert made.database.outbox.nudge.sent >= 1


async def test_a_pickle_is_refused_and_nothing_of_it_is_run(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis, tmp_path: Path
) -> None:
    path = tmp_path / "executed"
    for place, message in enumerate(
        (pickle.dumps(Touched(path)), pickle.dumps({"f": "perform", "a": (Touched(path), 1)}), b"\xc1")
    ):
        await put(redis, f"bad:{place}", message)
    async with working(given(database_url, servers.redis)):
        id_ = await asked(committed, write, names=["one"])
        await until(lambda: is_done(committed, id_))
        await until(lambda: _queue_is_empty(redis))
    assert not path.exists()


async def test_a_message_that_breaks_arq_does_not_end_its_listening(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis
) -> None:
    await put(redis, "odd:1", packed({"t": None, "f": ["no name"], "a": (1, 2), "k": {}, "et": "no time"}))
    await put(redis, "odd:2", packed({"t": None, "f": "perform", "a": (1, 2), "k": {}, "et": "no time"}))
    await put(redis, "odd:3", packed({"t": None, "f": "perform", "a": ("x",), "k": {"y": 1}, "et": 0}))
    await put(redis, "odd:4", packed({"t": None, "f": "os.system", "a": ("true",), "k": {}, "et": 0}))
    async with working(given(database_url, servers.redis)):
        for turn in range(3):
            id_ = await asked(committed, write, names=[f"{turn}"])
            await until(lambda id_=id_: is_done(committed, id_))  # type: ignore[misc]


async def test_messages_that_killed_workers_leave_starve_nobody(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis
) -> None:
    """They stand before everything new, and arq leaves them alone for as long as it thinks that somebody runs them."""
    for place in range(101):
        await put(redis, f"left:{place}", serialize_job("perform", (place, 9), {}, None, 0, serializer=packed), score=1)
        await redis.psetex(in_progress_key_prefix + f"left:{place}", 60_000, b"1")
    async with working(given(database_url, servers.redis)):
        id_ = await asked(committed, write, names=["one"])
        await until(lambda: is_done(committed, id_))


async def test_while_a_job_runs_nothing_of_it_is_left_in_redis(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis
) -> None:
    """So that a worker that is killed leaves nothing there."""
    async with working(given(database_url, servers.redis)) as made:
        id_ = await asked(committed, wait, name="one")
        await until(lambda: _authors_are(committed, ["one"]))
        await until(lambda: _no_keys_but(redis, f"{redis.default_queue_name}:health:"))
        assert made.slots.running == 1
    assert (await row(committed, id_)).state == "queued"


async def test_others_are_kept_off_a_message_for_seconds_not_for_a_day(
    redis: ArqRedis, database_url: str, servers: Servers
) -> None:
    loaded = given(database_url, servers.redis)
    made = Working(loaded, redis.default_queue_name, SLOTS)
    arq = ArqWorker(redis_pool=redis, handle_signals=False, **made.listening())
    assert arq.in_progress_timeout_s <= 20
    assert arq.on_startup
    await arq.on_startup({})
    assert arq.functions["perform"].timeout_s == worker.A_DAY
    await made.database.close()
    await made.relay.aclose()


async def test_redis_goes_away_and_comes_back_while_jobs_run(committed: Database, database_url: str) -> None:
    """Empty, as after a crash or FLUSHALL."""
    ends = asyncio.Event()

    async def long(run: Run) -> None:
        await ends.wait()
        async with run.chunk():
            run.reached(1)

    work: Job[Any] = Job("test.long", long)
    with own_redis() as (url, server):
        await ready(url)
        async with working(given(database_url, url), {**JOBS, work.name: work}) as made:
            running_one = await asked(committed, work)
            await until(lambda: made.slots.running)
            server.kill()
            waiting = await asked(committed, write, names=["one"])
            await until(lambda: not made._hears)  # noqa: SLF001
            ends.set()
            await until(lambda: is_done(committed, running_one))
            server.start()
            await until(lambda: is_done(committed, waiting))
        assert (await row(committed, running_one)).claim == 1


async def test_one_that_only_hands_out_runs_nothing(
    committed: Database, database_url: str, servers: Servers, redis: ArqRedis
) -> None:
    id_ = await asked(committed, write, names=["one"])
    async with committed.writing() as unit:
        await unit.session.execute(text("INSERT INTO shelfmark_workers (id, slots) VALUES ('elsewhere', 1)"))
    async with working(given(database_url, servers.redis), slots=0):
        await until(lambda: redis.zcard(redis.default_queue_name))
    assert (await row(committed, id_)).handed


async def test_work_ends_when_it_is_told_to(committed: Database, database_url: str, servers: Servers) -> None:
    stop = asyncio.Event()
    ending = asyncio.create_task(worker.work(given(database_url, servers.redis), stop))
    await until(lambda: _workers(committed))
    stop.set()
    await ending
    assert not await _workers(committed)


async def test_without_a_redis_or_a_table_it_says_what_to_do(empty_database: str, servers: Servers) -> None:
    with pytest.raises(SetupError, match="REDIS_URL is not set"):
        of_worker(settings_of(empty_database))
    with pytest.raises(SetupError, match="Run `shelfmark migrate` first"):
        await queue_of(given(empty_database, servers.redis))


def test_a_directory_for_files_that_cannot_be_used(tmp_path: Path) -> None:
    loaded = settings_of("postgresql://h/d", redis_url="redis://h", spool_directory=tmp_path / "nowhere")
    with pytest.raises(SetupError, match=r"SHELFMARK_SPOOL_DIRECTORY .* can't be written to"):
        of_worker(loaded)


async def test_it_can_wait_for_a_database_to_work_on(
    empty_database: str, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LOOK_SECONDS", 0.02)
    loaded, stop = given(empty_database, servers.redis), asyncio.Event()
    waiting = asyncio.create_task(until_migrated(loaded, stop))
    done, _ = await asyncio.wait([waiting], timeout=0.2)
    assert not done
    stop.set()
    await waiting


def test_how_many_jobs_a_worker_runs() -> None:
    assert room(Settings(_env_file=None)) == 3
    assert room(Settings(_env_file=None, write_pool_size=1)) == 1
    assert room(Settings(_env_file=None, job_slots=9)) == 9


def test_a_worker_counts_itself() -> None:
    loaded = of_worker(settings_of("postgresql://h/d", redis_url="redis://h", job_workers=0))
    assert (loaded.job_workers, loaded.pool_wait_seconds) == (1, worker.PATIENCE_SECONDS)


def test_other_names_are_no_settings() -> None:
    with pytest.raises(AttributeError):
        _ = worker.NoSuchSettings


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_arqs_own_command(
    committed: Database, settings: Settings, tmp_path: Path, redis: ArqRedis, number: signal.Signals
) -> None:
    """`arq WorkerSettings` works off jobs, and says whether it is well; a signal hands back what runs."""
    given = {"DATABASE_URL": str(url_of(settings)), "REDIS_URL": str(redis_url(settings)), "SHELFMARK_SECRETS": SECRET}
    environment = {**given, "PYTHONPATH": str(REPOSITORY), "SHELFMARK_JOB_GRACE_SECONDS": "0.1"}
    told = "tests.fixtures.working.WorkerSettings"
    quick = await asked(committed, write, names=["quick"])
    with running(tmp_path, str(BIN / "arq"), told, **environment) as process:
        await until(lambda: is_done(committed, quick), 60)
        slow = await asked(committed, wait, name="slow")
        await until(lambda: _authors_are(committed, ["quick", "slow"]))
        if number == signal.SIGTERM:
            with running(tmp_path, str(BIN / "arq"), "--check", told, **environment) as checking:
                assert await asyncio.to_thread(checking.ended, 60) == 0, checking.said()
        code = await asyncio.to_thread(process.end, number)
        assert "never retrieved" not in process.said(), process.said()
    found = await row(committed, slow)
    if number == signal.SIGTERM:
        assert (code, found.state, found.failures) == (0, "queued", 0)
        assert not await _workers(committed)
    else:
        assert (code, found.state) == (-number, "running")
        await until(lambda: _no_keys_but(redis, f"{redis.default_queue_name}:health:"))


async def put(redis: ArqRedis, name: str, message: bytes, score: int = 2) -> None:
    """A message in the queue that nobody of ours has put there."""
    await redis.set(job_key_prefix + name, message, px=60_000)
    await redis.zadd(redis.default_queue_name, {name: score})


async def _queue_is_empty(redis: ArqRedis) -> bool:
    return not await redis.zcard(redis.default_queue_name)


async def _no_keys_but(redis: ArqRedis, prefix: str) -> bool:
    keys = [key async for key in redis.scan_iter(match=f"*{redis.default_queue_name}*")]
    return all(key.startswith(prefix.encode()) for key in keys)


async def _authors_are(database: Database, names: list[str]) -> bool:
    return await authors(database) == names


async def _workers(database: Database) -> int:
    async with database.reading() as session:
        return int(await session.scalar(text("SELECT count(*) FROM shelfmark_workers")) or 0)
