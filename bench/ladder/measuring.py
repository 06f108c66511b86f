"""The measurement: a database that is filled once, rounds in which each contestant has its turn, in a process of its own.

Rounds take turns, so that a machine that is busy with something else is so for all; what is compared is compared within a round.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sqlalchemy import make_url

from bench.importing import Bench, Compared, bundled_psql
from bench.ladder import agreeing, data, direct, processes, wrk
from bench.ladder.contestants import BY_NAME, SETTINGS, W1, W2, W3, W4, W4_SAME, Contestant
from bench.ladder.results import Measured, Times, Where
from bench.ladder.wrk import Answered, Asked
from bench.servers import own_database
from service import migrations
from service.errors import SetupError

PGBENCH, ASYNCPG = "pgbench", "asyncpg"
BELOW = {PGBENCH: direct.pgbench, ASYNCPG: direct.driver}
NAMES = (*BY_NAME, *BELOW)
DEEP, IMPORT = "deep", "import"
FIRST_PAGE, DEEP_PAGE = "page 1", "page 10,000"
PAGES = (FIRST_PAGE, DEEP_PAGE)
DEEPEST = 10_000
BOOKS = 50_000
"""Of the file that is imported."""
WARM_SECONDS = 1
FASTCRUD = "fastcrud"
NO_FASTCRUD = (
    "fastcrud is left out: it is not installed. Give it an environment of its own, so that the lock stays as it is:\n"
    "  python3.11 -m venv /tmp/ladder\n"
    "  /tmp/ladder/bin/pip install -r requirements.lock && /tmp/ladder/bin/pip install fastcrud\n"
    "  and name it: --fastcrud-python /tmp/ladder/bin/python"
)
Told = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What is measured.

    Attributes:
        contestants: by name.
        workloads: W1, W2, W3, those of W4, `deep` and `import`.
        connections: of wrk; contestants that aren't measured everywhere have those nearest to 32 only.
        processes: of a server.
        rounds: how often each has its turn.
        seconds: that one measurement takes.
        rows: of the table.
        fastcrud_python: the interpreter that has FastCRUD.
        everywhere: whether all contestants are measured at all connections.
    """

    contestants: tuple[str, ...] = NAMES
    workloads: tuple[str, ...] = (W1, W2, W3, *W4, DEEP, IMPORT)
    connections: tuple[int, ...] = (1, 4, 32, 128)
    processes: tuple[int, ...] = (1, 2)
    rounds: int = 3
    seconds: int = 2
    rows: int = data.ROWS
    fastcrud_python: str = sys.executable
    everywhere: bool = False

    @property
    def usual(self) -> int:
        """The number of connections that everybody is measured at."""
        return min(self.connections, key=lambda number: abs(number - 32))

    @property
    def page(self) -> int:
        """The deep page's number: 10,000, or the one in the middle of a smaller table."""
        return min(DEEPEST, max(self.rows // data.PAGE // 2, 1))

    def at(self, one: Contestant, processes_: int, workload: str = W1) -> tuple[int, ...]:
        """The connections that a contestant is measured at."""
        many = one.everywhere and processes_ == 1 and workload not in W4
        return self.connections if self.everywhere or many else (self.usual,)

    def of(self, one: Contestant, processes_: int) -> tuple[str, ...]:
        """The workloads that a contestant is measured by; with several processes only W1 and W2."""
        return tuple(each for each in self.workloads if each in one.workloads and (processes_ == 1 or each in direct.QUESTIONS))


@dataclass
class Ladder:
    """A filled database, and all that is measured over it.

    Attributes:
        url: of the database.
        redis: of the Redis, where there is one.
        folder: for logs.
        token: an API key of this service.
        found: what was measured so far.
    """

    url: str
    redis: str | None
    options: Options
    folder: Path
    told: Told
    token: str = ""
    found: list[Measured] = field(default_factory=list)
    _pages: dict[str, tuple[Asked, Asked]] = field(default_factory=dict)
    _postmaster: int | None = None

    def prepare(self, server: str, name: str = data.DATABASE) -> None:
        """Make and fill the database, unless that is done.

        Raises:
            SetupError: it can't be.
        """
        filled = asyncio.run(data.is_filled(self.url, self.options.rows))
        asyncio.run(data.made(server, name, anew=not filled))
        self.token = self._prepared()
        if not filled:
            self.told(f"Filling {name} with {self.options.rows:,} rows...")
            asyncio.run(data.fill(self.url, self.options.rows))
        self._postmaster = asyncio.run(data.postmaster(self.url))

    def _prepared(self) -> str:
        environment = {**os.environ, "PYTHONPATH": str(processes.ROOT), "DATABASE_URL": self.url, **SETTINGS}
        command = [sys.executable, "-m", "bench.ladder.apps.shelfmark", "prepare"]
        done = subprocess.run(  # noqa: S603  # our own module
            command, env=environment, cwd=processes.ROOT, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise SetupError(f"The tables can't be made:\n{done.stderr.strip()}")
        return done.stdout.split()[-1]

    def present(self) -> list[Contestant]:
        """The contestants that are servers and are there; says which aren't."""
        chosen = [BY_NAME[name] for name in self.options.contestants if name in BY_NAME]
        if any(one.name == FASTCRUD for one in chosen) and not self._has_fastcrud():
            self.told(NO_FASTCRUD)
            chosen = [one for one in chosen if one.name != FASTCRUD]
        return chosen

    def _has_fastcrud(self) -> bool:
        command = [self.options.fastcrud_python, "-c", "import fastcrud"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0  # noqa: S603  # given by who measures

    def headers(self, one: Contestant) -> dict[str, str]:
        """What a contestant is sent with each request."""
        return {} if one.factory else {"Authorization": f"Bearer {self.token}"}

    def asked(self, one: Contestant, workload: str, port: int) -> Asked:
        """A workload as a contestant that serves there is asked for it.

        Raises:
            Disagreement: it answers rows to who has them already.
        """
        asked = one.asked(workload, self.headers(one), self.options.rows)
        return agreeing.tagged(port, asked) if workload == W4_SAME else asked

    @contextmanager
    def serving(self, one: Contestant, processes_: int = 1, profile: str | None = None) -> Iterator[tuple[int, int]]:
        """A contestant's process id and port, while it serves."""
        port = processes.free_port()
        python = self.options.fastcrud_python if one.name == FASTCRUD else sys.executable
        command = one.command(port, processes_, python, profile)
        told = one.told(port, processes_, self.url, self.redis)
        with processes.serving(command, told, port, f"{one.prefix}/items/1", self.folder / f"{one.name}.log") as pid:
            yield pid, port

    def agree(self) -> None:
        """Check that all contestants answer the same rows.

        Raises:
            Disagreement: one doesn't.
        """
        for one in self.present():
            if not one.rows:
                continue
            with self.serving(one) as (_, port):
                asyncio.run(agreeing.check(one, port, self.url, self.headers(one), self.options.rows))
                if DEEP in self.options.workloads and not one.slow and {W2, W3} <= set(one.workloads):
                    pages = agreeing.deep(one, port, self.url, self.headers(one), self.options.page)
                    self._pages[one.name] = asyncio.run(pages)
        asyncio.run(data.emptied(self.url, self.options.rows))

    def run(self) -> list[Measured]:
        """All rounds."""
        present = self.present()
        for number in range(self.options.rounds):
            for processes_ in self.options.processes:
                for one in present:
                    if processes_ == 1 or one.everywhere or self.options.everywhere:
                        try:
                            self._turn(one, processes_, number)
                        except processes.Stopped as error:  # the others' figures are worth keeping
                            self.told(f"{one.name} has no figures in this round: {error}")
            for name in self.options.contestants:
                if name in BELOW:
                    self._below(name, number)
        return self.found

    def _turn(self, one: Contestant, processes_: int, number: int) -> None:
        self.told(f"round {number + 1}: {one.name}" + (f", {processes_} processes" if processes_ > 1 else ""))
        with self.serving(one, processes_) as (pid, port):
            for workload in self.options.of(one, processes_):
                asked = self.asked(one, workload, port)
                wrk.ask(port, asked, self.options.usual, WARM_SECONDS)
                for connections in self.options.at(one, processes_, workload):
                    ask = partial(wrk.ask, port, asked, connections, self.options.seconds)
                    self._measure(Where(one.name, workload, connections, processes_, number), pid, ask)
                if workload == W3:
                    asyncio.run(data.emptied(self.url, self.options.rows))
            for page, asked in zip(PAGES, self._pages.get(one.name, ()) if processes_ == 1 else (), strict=False):
                self._measure(Where(one.name, page, 1, 1, number), pid, partial(wrk.ask, port, asked, 1, self.options.seconds))

    def _below(self, name: str, number: int) -> None:
        self.told(f"round {number + 1}: {name}")
        for workload in (each for each in self.options.workloads if each in direct.QUESTIONS):
            where = Where(name, workload, direct.CONNECTIONS, 1, number)
            given = (self.url, workload, self.options.rows, direct.CONNECTIONS, self.options.seconds)
            self._measure(where, None, partial(BELOW[name], *given))

    def _measure(self, where: Where, pid: int | None, ask: Callable[[], Answered]) -> None:
        """Ask, and count processor time meanwhile. Without a server, what asks is what is measured."""
        watched = [pid, self._postmaster]
        before = [processes.used(one) if one else 0.0 for one in watched]
        answered = ask()
        server, database = (processes.used(one) - used if one else 0.0 for one, used in zip(watched, before, strict=True))
        times = Times(server, database, answered.cpu) if pid else Times(answered.cpu, database, 0.0)
        self.found.append(Measured.by(where, answered, times, processes.resident(pid) if pid else 0.0))


async def imported(server: str, rounds: int) -> Compared:
    """The import of a file, beside a copy of its rows, in a database of its own."""
    async with own_database(server) as url:
        await asyncio.to_thread(migrations.upgrade, url)
        with tempfile.TemporaryDirectory() as folder:
            return await Bench(url, bundled_psql(), Path(folder)).run(BOOKS, rounds, authors_there=False)


def url_of(server: str, name: str = data.DATABASE) -> str:
    """The URL of the ladder's database on a server."""
    return make_url(server).set(database=name).render_as_string(hide_password=False)


def unknown(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """The names that mean nothing."""
    return [name for name in names if name not in known]
