"""Processes that a test kills, and that are begun anew each time: workers, relays and web processes, beside each other."""

import asyncio
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.faults.machine import Machine
from tests.faults.served import UNLIMITED, peak_of
from tests.faults.walls import TABLES
from tests.fixtures.keys import SECRET
from tests.fixtures.processes import REPOSITORY, SHELFMARK, Running, answers, kill, members, running, until, unused_port

WORKER = (sys.executable, "-m", "tests.faults.walls", "worker")
RELAY = (SHELFMARK, "worker", "--slots", "0")
WEB = (sys.executable, "-m", "tests.faults.walls", "web")
NOW = text("SELECT clock_timestamp()")
ORPHANED = text("""
INSERT INTO orphans (job_id, claim, at)
SELECT job.id, job.claim, :at FROM shelfmark_jobs AS job JOIN hands ON hands.job_id = job.id AND hands.claim = job.claim
WHERE job.state = 'running' AND hands.process_id = ANY (CAST(:processes AS int[]))
RETURNING job_id
""")
WAITED = text("""
SELECT CAST(extract(epoch FROM at) AS float8),
  CAST(extract(epoch FROM (SELECT min(at) FROM begun WHERE job_id = orphans.job_id AND claim > orphans.claim)) AS float8)
FROM orphans
""")
EPOCH = text("SELECT CAST(extract(epoch FROM clock_timestamp()) AS float8)")


@dataclass
class Post:
    """A process, whoever fills it.

    Attributes:
        command: what is run.
        is_ready: whether what it is for can be done, by its output.
        clocks: by how much its clock may be off, one of them at each beginning; empty: by nothing.
        ready: whether it is.
        kills: how often the test has killed it.
        deaths: how often it has died by itself.
        shifted: how often it was begun with a clock that is off.
    """

    folder: Path
    command: Sequence[str]
    environment: dict[str, str]
    is_ready: Callable[[Running], bool]
    clocks: Sequence[str] = ()
    ready: bool = False
    kills: int = 0
    deaths: int = 0
    shifted: int = 0
    _held: ExitStack = field(default_factory=ExitStack)
    _run: Running | None = None

    async def begin(self) -> None:
        """Start it, and wait until it is ready."""
        clock = random.choice(self.clocks) if self.clocks else ""  # noqa: S311
        before = ("faketime", "-f", clock) if clock else ()
        self.shifted += bool(clock)
        run = self._run = self._held.enter_context(running(self.folder, *before, *self.command, **self.environment))
        await asyncio.to_thread(until, lambda: self.is_ready(run) or run.process.poll() is not None, run.said)
        assert run.process.poll() is None, run.said()
        self.ready = True

    def kill(self) -> list[int]:
        """Kill all that belongs to it (kill -9); their numbers."""
        assert self._run
        self.ready, self.kills = False, self.kills + 1
        found = [self._run.process.pid, *members(self._run.process.pid)]
        for process_id in found:
            kill(process_id)
        self.end()
        return found

    def lives(self) -> bool:
        """Whether it goes on, and hasn't ended by itself."""
        return self._run is not None and self._run.process.poll() is None

    async def begin_again(self) -> None:
        """Start it anew, as whatever supervises it does when it has died."""
        self.ready, self.deaths = False, self.deaths + 1
        self.end()
        await self.begin()

    def has(self, process_id: int | None) -> bool:
        """Whether a process is one of its own."""
        return self._run is not None and process_id in members(self._run.process.pid)

    def resident_bytes(self) -> int:
        """The most memory that any of its processes has had since it was begun."""
        assert self._run
        return max(peak_of(process_id) for process_id in members(self._run.process.pid))

    def said(self) -> str:
        """What it has printed since it was begun."""
        return self._run.said() if self._run else ""

    def end(self) -> None:
        """Be rid of it."""
        self._held.close()
        self._run = None


@dataclass
class Workforce:
    """All processes of a test.

    Attributes:
        workers: run jobs.
        relays: only hand them out.
        webs: take orders.
        bases: where those listen.
    """

    workers: list[Post] = field(default_factory=list)
    relays: list[Post] = field(default_factory=list)
    webs: list[Post] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)

    @property
    def posts(self) -> list[Post]:
        """All of them."""
        return [*self.workers, *self.relays, *self.webs]

    async def kill_worker(self, post: Post, connection: AsyncConnection) -> int:
        """Kill a worker, and take down which jobs have lost their run by that; how many."""
        at = await connection.scalar(NOW)
        killed = post.kill()
        return len((await connection.execute(ORPHANED, {"at": at, "processes": killed})).all())


@dataclass(frozen=True)
class Waited:
    """How long jobs waited whose worker was killed, until they ran again.

    Attributes:
        seconds: of each.
        late: by how much the machine itself was late in the meantime.
    """

    seconds: list[float]
    late: list[float]

    @property
    def longest(self) -> float:
        """Seconds that the longest of them took, without what the machine itself was late."""
        return max((seconds - late for seconds, late in zip(self.seconds, self.late, strict=True)), default=0.0)

    def in_words(self) -> str:
        """Both, as a figure."""
        if not self.seconds:
            return "no job lost its worker"
        return (
            f"jobs that lost their worker: {len(self.seconds)}; they ran again after "
            f"{statistics.median(self.seconds):.2f} s (median), {max(self.seconds):.2f} s at the most, "
            f"{self.longest:.2f} without the machine's own lateness"
        )


async def orphans_waited(connection: AsyncConnection, watched: Machine) -> Waited:
    """How long each job waited whose worker was killed."""
    found = (await connection.execute(WAITED)).all()
    assert all(again is not None for _, again in found), "an orphan never ran again"
    database, here = (await connection.scalar(EPOCH)), monotonic()
    spans = [(here - (database - killed), here - (database - again)) for killed, again in found]
    return Waited([again - killed for killed, again in found], [watched.stood(*span) for span in spans])


async def with_walls(connection: AsyncConnection) -> None:
    """Make the tables that walls are counted in."""
    for statement in TABLES:
        await connection.execute(text(statement))


@asynccontextmanager
async def workforce(
    database_url: str, redis_url: str, *, workers: int = 1, relays: int = 0, webs: int = 0, clocks: Sequence[str] = (), **more: str
) -> AsyncIterator[Workforce]:
    """So many processes, all ready.

    Args:
        database_url: of a database that has the walls' tables.
        redis_url: of their Redis.
        workers: how many run jobs.
        relays: how many only hand them out.
        webs: how many take orders.
        clocks: by how much a process's clock may be off; needs faketime.
        more: settings.
    """
    folder = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    given = {"DATABASE_URL": database_url, "REDIS_URL": redis_url, "SHELFMARK_SECRETS": SECRET, "PYTHONPATH": str(REPOSITORY)}
    given |= {"SHELFMARK_READ_POOL_SIZE": "2", "SHELFMARK_WRITE_POOL_SIZE": "4", "SHELFMARK_LAG_MS": "10000"}
    given |= {"DONT_FAKE_MONOTONIC": "1"} | UNLIMITED | more

    def post(command: Sequence[str], is_ready: Callable[[Running], bool]) -> Post:
        return Post(folder, command, given, is_ready, clocks)

    def begun(run: Running) -> bool:
        return "a worker has begun" in run.said()

    def web() -> Post:
        port = unused_port()
        made.bases.append(f"http://127.0.0.1:{port}")
        return post((*WEB, str(port)), lambda _: answers(f"http://127.0.0.1:{port}/readyz"))

    made = Workforce([post(WORKER, begun) for _ in range(workers)], [post(RELAY, begun) for _ in range(relays)])
    made.webs = [web() for _ in range(webs)]
    try:
        await asyncio.gather(*(one.begin() for one in made.posts))
        yield made
    finally:
        for one in made.posts:
            one.end()
        shutil.rmtree(folder)
