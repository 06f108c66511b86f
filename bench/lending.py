"""Many at the desk at once: processes that borrow, return, renew and wait, and whether what they were told is what is there.

    python -m bench.lending --seconds 60

Each process has an application and connections of its own, and keeps a list of what was acknowledged; at the end the lists are held
against the tables: every acknowledged loan is there once, each act has its event, and no deadlock reached a client.
"""

import argparse
import asyncio
import multiprocessing
import random
import statistics
import time
from collections import Counter
from dataclasses import dataclass, field

from httpx import ASGITransport, AsyncClient, Response
from sqlalchemy import NullPool, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from bench.servers import own_database, server
from service import migrations
from service.app import create_app
from service.db import keys
from service.db.keys import Granted
from service.http.scopes import ADMIN
from service.http.tokens import Signatures
from service.http.tokens import checked as checked_key
from service.settings import Settings, load
from tests.tables.truths import broken

BOOKS, COPIES, MEMBERS, DESKS = 50, 2, 120, 4
SECRET = "bench" * 8
KEY = checked_key("shelf_benchkey_" + "B" * 43)
MISTAKE = 500
LIBRARY = f"""
INSERT INTO authors (name) VALUES ('Author');
INSERT INTO books (title, author_id) SELECT 'Title ' || g, 1 FROM generate_series(1, {BOOKS}) AS g;
INSERT INTO copies (book_id, barcode, branch, shelfmark)
SELECT 1 + g % {BOOKS}, 'C' || g, 'Main', 'F' FROM generate_series(1, {BOOKS * COPIES}) AS g;
INSERT INTO members (email, name) SELECT g || '@example.org', 'Member ' || g FROM generate_series(1, {MEMBERS}) AS g;
"""


@dataclass
class Told:
    """What one process was told.

    Attributes:
        loans: the ids of acknowledged loans.
        returned: the ids of those whose return was acknowledged.
        holds: the ids of acknowledged holds.
        answers: act and status -> how many.
        seconds: how long each answer took.
    """

    loans: list[int] = field(default_factory=list)
    returned: list[int] = field(default_factory=list)
    holds: list[int] = field(default_factory=list)
    renewed: int = 0
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


class Desk:
    """One task of a process, which does one act after the other."""

    def __init__(self, client: AsyncClient, dice: random.Random, told: Told) -> None:
        self.client, self.dice, self.told = client, dice, told
        self.open: list[int] = []
        self.waiting: list[int] = []

    async def act(self) -> None:
        """Borrow, return, renew, place or cancel."""
        acts = {"return": (self._return, 46), "renew": (self._renew, 4), "cancel": (self._cancel, 4), "hold": (self._hold, 6)}
        possible = {"borrow": (self._borrow, 40)} | {
            name: found for name, found in acts.items() if name == "hold" or (self.waiting if name == "cancel" else self.open)
        }
        name = self.dice.choices(list(possible), [weight for _, weight in possible.values()])[0]
        began = time.perf_counter()
        answer = await possible[name][0]()
        self.told.seconds.append(time.perf_counter() - began)
        self.told.answers[name, answer.status_code] += 1

    async def _borrow(self) -> Response:
        body = {"member_id": self._anybody(), "book_id": self.dice.randint(1, BOOKS)}
        answer = await self.client.post("/v1/loans", json=body)
        if answer.is_success:
            self.told.loans.append(answer.json()["id"])
            self.open.append(answer.json()["id"])
        return answer

    async def _return(self) -> Response:
        loan = self.open.pop(self.dice.randrange(len(self.open)))
        answer = await self.client.post(f"/v1/loans/{loan}:return")
        if answer.is_success:
            self.told.returned.append(loan)
        return answer

    async def _renew(self) -> Response:
        answer = await self.client.post(f"/v1/loans/{self.dice.choice(self.open)}:renew", headers={"If-Match": "*"})
        self.told.renewed += answer.is_success
        return answer

    async def _hold(self) -> Response:
        body = {"member_id": self._anybody(), "book_id": self.dice.randint(1, BOOKS)}
        answer = await self.client.post("/v1/holds", json=body)
        if answer.is_success:
            self.told.holds.append(answer.json()["id"])
            self.waiting.append(answer.json()["id"])
        return answer

    async def _cancel(self) -> Response:
        return await self.client.delete(f"/v1/holds/{self.waiting.pop(self.dice.randrange(len(self.waiting)))}")

    def _anybody(self) -> int:
        return self.dice.randint(1, MEMBERS)


def settings(url: str) -> Settings:
    """Settings of a process that waits rather than refuses: all of them share one machine."""
    pools = {"write_pool_size": DESKS, "read_pool_size": 1, "pool_wait_seconds": 30}
    return load(_env_file=None, database_url=url, secrets=SECRET, hosts="bench", key_requests_per_second=0, **pools)


def process(url: str, seed: int, seconds: float) -> Told:
    """What one process does."""
    return asyncio.run(_process(url, seed, seconds))


async def _process(url: str, seed: int, seconds: float) -> Told:
    app, told = create_app(settings(url)), Told()
    client = AsyncClient(transport=ASGITransport(app), base_url="http://bench", headers={"Authorization": f"Bearer {KEY}"})
    async with app.router.lifespan_context(app), client:
        until = time.monotonic() + seconds

        async def stand(desk: Desk) -> None:
            while time.monotonic() < until:
                await desk.act()

        dice = [random.Random(seed * DESKS + number) for number in range(DESKS)]  # noqa: S311 - dice, not secrets
        await asyncio.gather(*(stand(Desk(client, one, told)) for one in dice))
    return told


async def checked(connection: AsyncConnection, told: list[Told]) -> list[str]:
    """What isn't as the processes were told."""
    wrong = [f"{truth}: {rows}" for truth, rows in (await broken(connection)).items()]
    for name, query, expected in (
        ("loans", "SELECT id FROM loans", [loan for one in told for loan in one.loans]),
        ("returns", "SELECT id FROM loans WHERE returned_at IS NOT NULL", [loan for one in told for loan in one.returned]),
        ("holds", "SELECT id FROM holds", [hold for one in told for hold in one.holds]),
    ):
        there = Counter((await connection.scalars(text(query))).all())
        if there != Counter(expected):
            wrong.append(f"{name}: {sum(there.values())} are there, {len(expected)} were acknowledged")
    renewals = await connection.scalar(text("SELECT coalesce(sum(renewals), 0) FROM loans"))
    if renewals != sum(one.renewed for one in told):
        wrong.append(f"renewals: {renewals} are there")
    return wrong


async def run(url: str, processes: int, seconds: float) -> bool:
    """Fill the library, let everybody in, check and print; whether all is as it should be."""
    await asyncio.to_thread(migrations.upgrade, url)
    engine = create_async_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in LIBRARY.strip().split(";")[:-1]:
            await connection.execute(text(statement))
        await keys.add(connection, Signatures([SECRET.encode()]).sign(KEY.encode()), Granted("bench", (ADMIN,), {}))
        await connection.execute(text("VACUUM ANALYZE"))
        told = await asyncio.to_thread(everybody, url, processes, seconds)
        wrong = await checked(connection, told)
        events = await connection.scalar(text("SELECT count(*) FROM events"))
        deadlocks = await connection.scalar(text("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))
    await engine.dispose()
    answers = sum((one.answers for one in told), Counter[tuple[str, int]]())
    mistakes = sum(number for (_, status), number in answers.items() if status >= MISTAKE)
    show(told, answers, seconds, {"events": events, "answers 5xx": mistakes, "deadlocks in the database": deadlocks})
    print(*(wrong or ["Everything that was acknowledged is there once."]), sep="\n")  # noqa: T201
    return not wrong and not mistakes


def everybody(url: str, processes: int, seconds: float) -> list[Told]:
    """What all processes were told."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        return pool.starmap(process, [(url, seed, seconds) for seed in range(processes)])


def show(told: list[Told], answers: Counter[tuple[str, int]], seconds: float, figures: dict[str, object]) -> None:
    """Print the figures."""
    times = statistics.quantiles([took for one in told for took in one.seconds], n=100)
    rows: list[tuple[str, object]] = [(f"{act} {status}", number) for (act, status), number in sorted(answers.items())]
    rows += [
        ("acknowledged loans", sum(len(one.loans) for one in told)),
        ("answers", answers.total()),
        ("answers a second", round(answers.total() / seconds)),
        *figures.items(),
        ("median, ms", round(times[49] * 1000, 1)),
        ("99th percentile, ms", round(times[98] * 1000, 1)),
    ]
    print(f"{len(told)} processes, {DESKS} desks each, {BOOKS} books, {BOOKS * COPIES} copies, {MEMBERS} members, {seconds:g} s")  # noqa: T201
    print(*(f"  {name:<28}{value!s:>12}" for name, value in rows), sep="\n")  # noqa: T201


async def on(server: str, processes: int, seconds: float) -> bool:
    """Run in a database of its own."""
    async with own_database(server) as url:
        return await run(url, processes, seconds)


def main() -> None:
    """Run on a given server, or on one of its own that doesn't outlive the run."""
    options = argparse.ArgumentParser(description="Borrow and return from many processes at once.")
    options.add_argument("--seconds", type=float, default=60, help="how long")
    options.add_argument("--processes", type=int, default=8, help="how many")
    options.add_argument("--url", help="a PostgreSQL whose user may create databases; by default an embedded one")
    given = options.parse_args()
    with server(given.url) as url:
        held = asyncio.run(on(url, given.processes, given.seconds))
    raise SystemExit(0 if held else 1)


if __name__ == "__main__":
    main()
