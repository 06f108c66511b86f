"""Drawing from Redis: exact on its clock, forced where something is owed, many buckets in one trip; and a Redis that is gone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from structlog.testing import capture_logs

from service.http.slices import GIVE_UP_SECONDS, REST_SECONDS, Slices
from tests.fixtures.processes import unused_port
from tests.fixtures.servers import Servers
from tests.fixtures.silence import silent_server
from tests.waiting import LATE_SECONDS


@dataclass
class Drawing:
    """A bucket that writes down what it is given."""

    each: float = 1000.0
    burst: int = 20
    owed: int = 0
    wanted: int = 0
    name: str = field(default_factory=lambda: f"shelf:test:{uuid4()}")
    settled: list[tuple[int, int, float]] = field(default_factory=list)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def order(self) -> tuple[float, int, int, int]:
        """What it wants."""
        return self.each, self.burst, self.owed, self.wanted

    def settle(self, owed: int, wanted: int, given: int, left: int, wait: float) -> None:  # noqa: ARG002  # as buckets have it
        """Write down what was given."""
        self.settled.append((given, left, wait))

    def release(self) -> None:
        """Let the test go on."""
        self.released.set()


async def drawn(slices: Slices, bucket: Drawing, *, owed: int = 0, wanted: int = 0) -> tuple[int, int, float]:
    """What a draw gave: how many, how many are left, and the seconds until there is one more."""
    bucket.owed, bucket.wanted = owed, wanted
    bucket.released.clear()
    slices.want(bucket)
    await asyncio.wait_for(bucket.released.wait(), LATE_SECONDS)
    return bucket.settled[-1]


@pytest.fixture
async def slices(servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Slices]:
    """Slices from Redis, which a busy machine lets wait."""
    monkeypatch.setattr("service.http.slices.GIVE_UP_SECONDS", 5.0)
    made = Slices(Redis.from_url(servers.redis))
    yield made
    await made.aclose()


async def test_no_more_than_the_burst_is_given(slices: Slices) -> None:
    bucket = Drawing()
    assert (await drawn(slices, bucket, wanted=15))[:2] == (15, 5)
    given, left, wait = await drawn(slices, bucket, wanted=15)
    assert (given, left) == (5, 0)
    assert 999 < wait <= 1000
    assert (await drawn(slices, bucket, wanted=15))[:2] == (0, 0)


async def test_what_is_owed_is_booked_whatever_is_left(slices: Slices) -> None:
    bucket = Drawing()
    assert (await drawn(slices, bucket, wanted=20))[:2] == (20, 0)
    given, left, wait = await drawn(slices, bucket, owed=3, wanted=5)
    assert (given, left) == (0, -3)
    assert 3999 < wait <= 4000


async def test_it_is_earned_again(slices: Slices) -> None:
    bucket = Drawing(each=0.02)
    assert (await drawn(slices, bucket, wanted=20))[0] == 20
    began = monotonic()
    given = 0
    while given < 10:
        given += (await drawn(slices, bucket, wanted=20))[0]
    assert 10 * 0.02 - 0.03 < monotonic() - began < LATE_SECONDS
    assert given == 10


async def test_a_fraction_of_a_second_is_a_rate_too(slices: Slices) -> None:
    """A third of a microsecond that is rounded away at each draw would be a drift."""
    bucket = Drawing(each=1 / 3_000_000, burst=1_000_000)
    for _ in range(5):
        assert (await drawn(slices, bucket, wanted=100_000))[0] == 100_000


async def test_all_processes_draw_from_the_same(slices: Slices, servers: Servers) -> None:
    bucket, other = Drawing(), Slices(Redis.from_url(servers.redis))
    assert (await drawn(slices, bucket, wanted=12))[0] == 12
    assert (await drawn(other, bucket, wanted=12))[0] == 8
    await other.aclose()


async def test_nothing_is_kept_for_longer_than_it_matters(slices: Slices, servers: Servers) -> None:
    bucket = Drawing(each=0.1)
    await drawn(slices, bucket, wanted=10)
    async with Redis.from_url(servers.redis) as redis:
        assert 900 < await redis.pttl(bucket.name) <= 1001
        nothing = Drawing()
        assert await drawn(slices, nothing) == (0, 20, 0.0)
        assert not await redis.exists(nothing.name)


async def test_many_buckets_go_in_one_trip(slices: Slices, monkeypatch: pytest.MonkeyPatch) -> None:
    trips, ask = [], slices._ask  # noqa: SLF001

    async def counted(buckets: list[Drawing], orders: object) -> object:
        trips.append(len(buckets))
        return await ask(buckets, orders)  # type: ignore[arg-type]

    monkeypatch.setattr(Slices, "_ask", staticmethod(counted))
    buckets = [Drawing(wanted=1) for _ in range(50)]
    for bucket in buckets:
        slices.want(bucket)
        slices.want(bucket)
    await asyncio.gather(*(asyncio.wait_for(bucket.released.wait(), LATE_SECONDS) for bucket in buckets))
    assert trips == [50]


async def test_a_redis_that_forgot_the_script_learns_it_again(slices: Slices, servers: Servers) -> None:
    bucket = Drawing()
    await drawn(slices, bucket, wanted=1)
    async with Redis.from_url(servers.redis) as redis:
        await redis.script_flush()
    assert (await drawn(slices, bucket, wanted=1))[:2] == (1, 18)


async def test_a_redis_that_is_gone_is_left_alone_for_a_while() -> None:
    slices = Slices(Redis.from_url(f"redis://127.0.0.1:{unused_port()}/0"))
    bucket = Drawing(wanted=1)
    with capture_logs() as logs:
        for _ in range(3):
            slices.want(bucket)
            await asyncio.wait_for(bucket.released.wait(), LATE_SECONDS)
            bucket.released.clear()
    assert not bucket.settled
    assert 0 < slices.alone_until - monotonic() <= REST_SECONDS
    assert [line["event"] for line in logs] == ["Redis doesn't answer: each process counts requests for itself"]
    await slices.aclose()


async def test_a_redis_that_hangs_is_given_up() -> None:
    """Once the connection stands: its making may take longer, as nobody waits for it."""
    bucket = Drawing(wanted=1)

    async with silent_server() as port:
        hanging = Slices(Redis.from_url(f"redis://127.0.0.1:{port}/0"))
        hanging._cold = False  # noqa: SLF001
        began = monotonic()
        hanging.want(bucket)
        await asyncio.wait_for(bucket.released.wait(), LATE_SECONDS)
        assert GIVE_UP_SECONDS * 0.9 < monotonic() - began < LATE_SECONDS
        assert hanging.alone_until > monotonic()
        await hanging.aclose()


def test_without_redis_everybody_counts_alone() -> None:
    assert Slices(None).alone_until == float("inf")
