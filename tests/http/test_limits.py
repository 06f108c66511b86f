"""Limits: exact to a slice for each process, local most of the time, told in each answer; with Redis and without."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from time import monotonic
from uuid import uuid4

import pytest
from httpx import AsyncClient, Response
from redis.asyncio import Redis

from service.app import create_app
from service.db.bound import Bound
from service.errors import Overloaded, TooManyRequests
from service.http.callers import Caller
from service.http.costs import SEARCH
from service.http.limits import ASK, BUCKETS_MOST, Bucket, Buckets, Dear, Limit, Limits
from service.http.slices import GIVE_UP_SECONDS, Slices
from service.settings import Settings
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of
from tests.fixtures.servers import Servers
from tests.fixtures.silence import silent_server
from tests.fixtures.statements import Queries
from tests.http.conftest import refused
from tests.waiting import LATE_SECONDS

SLOWLY = 0.001
"""Requests per second: none is earned while a test runs."""
DICE = random.SystemRandom()
Processes = Callable[..., list[Limits]]


@pytest.fixture
async def processes(settings: Settings, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Processes]:
    """Limits as several processes have them, each with a connection of its own to the same Redis, whom a busy machine lets wait."""
    for name in ("limits", "slices"):
        monkeypatch.setattr(f"service.http.{name}.GIVE_UP_SECONDS", 5.0)
    made: list[Limits] = []

    def make(count: int, rate: float = SLOWLY, burst: int = 100, ahead: int = 10) -> list[Limits]:
        changed = {"key_requests_per_second": rate, "key_requests_burst": burst, "limit_slice": ahead}
        made.extend(Limits(settings.model_copy(update=changed), Redis.from_url(servers.redis)) for _ in range(count))
        return made

    yield make
    for one in made:
        await one.aclose()


async def asked(limits: Limits, key: str, cost: int = 1) -> bool:
    """Whether a request of a key is answered: what the layer does."""
    bucket = limits.keys.of(key)  # type: ignore[union-attr]
    now = monotonic()
    if now < limits.slices.alone_until:
        return bucket.take_alone(cost, now) == 0
    wait = bucket.take(cost, now)
    if wait == ASK:
        wait = await limits.ask(bucket, cost)
    elif bucket.tokens < bucket.low and now >= bucket.closed:
        limits.slices.want(bucket)
    await asyncio.sleep(0)
    return wait == 0


@pytest.mark.parametrize("burst", [1, 9, 20])
async def test_a_limit_too_small_for_slices_is_exact(processes: Processes, burst: int) -> None:
    (limits,), key = processes(1, burst=burst, ahead=1), str(uuid4())
    answers = await asyncio.gather(*(asked(limits, key) for _ in range(200)))
    assert sum(answers) == burst


@pytest.mark.parametrize(("count", "ahead"), [(1, 10), (4, 10), (4, 3), (8, 10)])
async def test_all_processes_together_exceed_it_by_a_slice_each_at_the_most(processes: Processes, count: int, ahead: int) -> None:
    """And they don't stay far below it: what expires is little."""
    burst, key = 100, str(uuid4())
    made = processes(count, burst=burst, ahead=ahead)
    answered = 0
    for _ in range(60):
        answered += sum(await asyncio.gather(*(asked(one, key) for one in made for _ in range(DICE.randint(0, 4)))))
        await asyncio.sleep(0.001)
    assert burst - count * ahead <= answered <= burst + count * ahead


async def test_in_the_long_run_the_rate_holds(processes: Processes) -> None:
    """However many processes are asked, and whenever: never more than the burst, what was earned, and a slice for each."""
    count, rate, burst, ahead, seconds, key = 4, 200.0, 50, 5, 1.5, str(uuid4())
    made = processes(count, rate, burst, ahead)
    began, answered = monotonic(), 0
    while (elapsed := monotonic() - began) < seconds:
        answered += sum(await asyncio.gather(*(asked(one, key) for one in DICE.sample(made, 2) for _ in range(5))))
        elapsed = monotonic() - began
        assert answered <= burst + elapsed * rate + count * ahead
        await asyncio.sleep(0.002)
    assert answered >= burst + (elapsed - 0.5) * rate * 0.7


async def test_the_common_request_costs_no_trip(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    (limits,), key, trips = processes(1, rate=100_000, burst=100_000, ahead=100), str(uuid4()), []
    ask = limits.slices._ask  # noqa: SLF001

    async def counted(buckets: list[Bucket], orders: object) -> object:
        trips.append(1)
        return await ask(buckets, orders)  # type: ignore[arg-type]

    monkeypatch.setattr(Slices, "_ask", staticmethod(counted))
    for _ in range(2000):
        assert await asked(limits, key)
        await asyncio.sleep(0.0001)
    assert len(trips) <= 2000 / 75 * 2 + 10


def bucket(burst: int = 100, ahead: int = 10, rate: float = 1.0) -> Bucket:
    """A bucket that was never asked."""
    return Bucket("shelf:test", Limit("key", rate, burst, ahead))


def test_a_slice_is_a_tenth_of_the_burst_at_the_most() -> None:
    limit = Limit("key", 1, 100, 1000)
    assert limit.credit + limit.hold == 10
    assert (Limit("key", 1, 5, 1000).credit, Limit("key", 1, 5, 1000).hold) == (0, 1)


def test_credit_has_an_end() -> None:
    one = bucket(ahead=8)
    assert [one.take(1, 1.0) for _ in range(3)] == [0, 0, ASK]
    assert one.tokens == -2


def test_what_an_answer_says_is_left() -> None:
    """Never fewer than none, also while the process owes; and after how long all of it is there again."""
    one = bucket(burst=100, rate=10.0)
    policy = (b"ratelimit-policy", b'"key";q=100;w=10')
    assert one.told() == ((b"ratelimit", b'"key";r=100;t=1'), policy)
    one.tokens, one.left = 3, 42
    assert one.told() == ((b"ratelimit", b'"key";r=45;t=6'), policy)
    one.tokens, one.left = -2, 0
    assert one.told() == ((b"ratelimit", b'"key";r=0;t=11'), policy)


def test_no_more_is_left_than_may_be_made_at_once() -> None:
    one = bucket()
    for _ in range(2):
        one.settle(0, 5, given=5, left=98, wait=0)
    assert one.told()[0] == (b"ratelimit", b'"key";r=100;t=1')


def test_what_is_left_of_a_slice_expires() -> None:
    one = bucket()
    one.settle(0, 5, 5, 90, 0.0)
    assert one.take(1, monotonic()) == 0
    assert one.tokens == 4
    assert one.take(1, one.until + 0.001) == 0
    assert (one.tokens, one.step) == (-1, 0)


def test_slices_grow_while_they_are_used_up() -> None:
    one = bucket(burst=1000, ahead=100)
    wanted = []
    for _ in range(8):
        _, _, owed, want = one.order()
        one.settle(owed, want, want, 500, 0.0)
        wanted.append(want)
        one.tokens = 0
    assert wanted == [0, 1, 3, 7, 15, 31, 63, 75]


def test_a_closed_bucket_gives_no_credit_and_says_when_to_come_again() -> None:
    one = bucket()
    one.settle(0, 5, 0, 0, 2.5)
    now = monotonic()
    assert 2.4 < one.take(1, now) <= 2.5
    assert 6.4 < one.take(5, now) <= 6.5
    assert one.take(1, now + 2.6) == 0


def test_alone_the_limit_is_the_same() -> None:
    one = bucket(burst=5)
    assert [one.take_alone(1, 100.0) for _ in range(6)] == [0, 0, 0, 0, 0, 1]
    assert one.take_alone(1, 100.5) == 0.5
    assert one.take_alone(1, 101.0) == 0
    assert one.take_alone(2, 101.0) == 2


def test_what_was_drawn_counts_when_redis_is_lost() -> None:
    """Otherwise its loss would be a new burst for everybody."""
    one = bucket(burst=100)
    one.settle(10, 80, 80, 10, 0.0)
    assert [one.take_alone(5, monotonic()) == 0 for _ in range(3)] == [True, True, False]


def test_buckets_that_are_not_used_are_forgotten() -> None:
    buckets = Buckets(Limit("address", 1, 100, 10))
    first = buckets.of("first")
    for number in range(BUCKETS_MOST + 10):
        buckets.of(str(number))
        assert buckets.of("first") is first
    assert len(buckets) == BUCKETS_MOST


async def test_a_redis_that_hangs_costs_a_request_little(settings: Settings) -> None:
    changed = {"key_requests_per_second": SLOWLY, "key_requests_burst": 20, "limit_slice": 1}
    async with silent_server() as port:
        limits = Limits(settings.model_copy(update=changed), Redis.from_url(f"redis://127.0.0.1:{port}/0"))
        began = monotonic()
        answers = await asyncio.gather(*(asked(limits, "a") for _ in range(100)))
        assert sum(answers) == 20
        assert monotonic() - began < LATE_SECONDS
        took = list[float]()
        for _ in range(20):
            began = monotonic()
            assert not await asked(limits, "a")
            took.append(monotonic() - began)
        assert min(took) < GIVE_UP_SECONDS / 2
        await limits.aclose()


def test_dear_requests_are_counted_for_each_and_in_all() -> None:
    dear = Dear(3, 2)
    dear.enter("a", SEARCH)
    dear.enter("a", SEARCH)
    with pytest.raises(TooManyRequests):
        dear.enter("a", SEARCH)
    dear.enter("b", SEARCH)
    with pytest.raises(Overloaded):
        dear.enter("c", SEARCH)
    dear.leave("a")
    dear.enter("c", SEARCH)
    for who in "abc":
        dear.leave(who)
    assert len(dear) == 0


# Through the application.


@pytest.fixture
def limited(settings: Settings, database: Bound) -> Callable[..., AsyncClient]:
    """Clients of a service with limits, and without Redis unless said otherwise."""

    def made(**changed: object) -> AsyncClient:
        update = {"redis_url": None, "public_read": ("books",)} | changed
        return client_of(create_app(settings.model_copy(update=update), database))

    return made


async def test_an_answer_says_what_is_left(limited: Callable[..., AsyncClient]) -> None:
    book = await BookFactory.create()
    async with limited(key_requests_per_second=0.02, key_requests_burst=10) as client:
        answers = [await client.get(f"/v1/books/{book.id}") for _ in range(2)]
    assert [answer.headers["ratelimit-policy"] for answer in answers] == ['"key";q=10;w=500'] * 2
    assert [answer.headers["ratelimit"].partition(";t=")[0] for answer in answers] == ['"key";r=9', '"key";r=8']


async def test_a_request_too_many(limited: Callable[..., AsyncClient], queries: Queries) -> None:
    async with limited(key_requests_per_second=0.05, key_requests_burst=4) as client:
        answers = [await client.get("/v1/books?limit=1") for _ in range(3)]
        sent = len(queries)
        refusal = await client.get("/v1/books?limit=1")
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    problem = refused(refusal, 429, "too-many-requests")
    wait = refusal.headers["retry-after"]
    assert 20 < int(wait) <= 40
    assert problem["detail"] == (
        "In the long run this API key may make 0.05 requests a second, and at most 4 at once; "
        f"a list counts as 2. Try again in {wait} s."
    )
    assert refusal.headers["ratelimit"].startswith('"key";r=0;t=')
    assert len(queries) == sent


async def test_a_dear_request_never_costs_more_than_the_burst(limited: Callable[..., AsyncClient]) -> None:
    async with limited(key_requests_per_second=SLOWLY, key_requests_burst=3) as client:
        assert (await client.get("/v1/books?title__icontains=garden")).status_code == 200
        assert (await client.get("/v1/books?title__icontains=garden")).status_code == 429


async def test_without_a_key_the_address_counts(limited: Callable[..., AsyncClient]) -> None:
    proxied = {"address_requests_per_second": SLOWLY, "address_requests_burst": 2, "trusted_proxies": ("127.0.0.1",)}
    async with limited(**proxied) as client:
        client.headers.pop("Authorization", None)

        async def status(address: str) -> Response:
            return await client.get("/v1/books", headers={"X-Forwarded-For": address})

        assert [(await status("198.51.100.1")).status_code for _ in range(2)] == [200, 429]
        assert (await status("203.0.113.9")).status_code == 200
        assert (await status("203.0.113.9, 198.51.100.1")).status_code == 429
        assert (await status("198.51.100.2")).headers["ratelimit-policy"] == '"address";q=2;w=2000'


async def test_a_key_is_not_counted_by_its_address(limited: Callable[..., AsyncClient]) -> None:
    async with limited(address_requests_per_second=SLOWLY, address_requests_burst=1) as client:
        assert [(await client.get("/v1/books")).status_code for _ in range(3)] == [200] * 3


async def test_no_limit(limited: Callable[..., AsyncClient]) -> None:
    async with limited() as client:
        assert "ratelimit" not in (await client.get("/v1/books")).headers


async def test_health_is_not_limited(limited: Callable[..., AsyncClient]) -> None:
    async with limited(address_requests_per_second=SLOWLY, address_requests_burst=1) as client:
        assert [(await client.get("/livez")).status_code for _ in range(3)] == [200] * 3


async def test_limits_are_shared_through_redis(limited: Callable[..., AsyncClient], settings: Settings, servers: Servers) -> None:
    """Two applications, one limit; the key is another one at each run."""
    ways = {"redis_url": settings.redis_url, "address_requests_per_second": SLOWLY, "address_requests_burst": 4}
    proxied = {"trusted_proxies": ("127.0.0.1",)} | ways
    address = f"2001:db8:{DICE.randrange(65536):x}:{DICE.randrange(65536):x}::1"
    async with limited(**proxied) as one, limited(**proxied) as other:
        for client in (one, other):
            client.headers.pop("Authorization", None)
            client.headers["X-Forwarded-For"] = address
        statuses = [(await client.get("/v1/books")).status_code for client in (one, other, one, other)]
        for client in (one, other):
            await client._transport.app.state.limits.aclose()  # type: ignore[attr-defined]  # noqa: SLF001
    assert statuses == [200, 200, 429, 429]


async def test_few_searches_run_at_the_same_time(limited: Callable[..., AsyncClient], monkeypatch: pytest.MonkeyPatch) -> None:
    async with limited(dear_requests_most_each=1) as client:
        client._transport.app.state.limits.dear.enter("testadmn", SEARCH)  # type: ignore[attr-defined]  # noqa: SLF001
        refusal = await client.get("/v1/books?title__icontains=garden")
        assert (await client.get("/v1/books")).status_code == 200
        client._transport.app.state.limits.dear.leave("testadmn")  # type: ignore[attr-defined]  # noqa: SLF001
        assert (await client.get("/v1/books?title__icontains=garden")).status_code == 200
    assert "1 searches, batches and streamed exports of yours are running" in refused(refusal, 429, "too-many-requests")["detail"]
    assert refusal.headers["retry-after"] == "1"


async def test_a_dear_request_that_fails_is_counted_to_its_end(limited: Callable[..., AsyncClient]) -> None:
    async with limited() as client:
        assert (await client.post("/v1/books:batch", json={"data": "nonsense"})).status_code == 422
        assert len(client._transport.app.state.limits.dear) == 0  # type: ignore[attr-defined]  # noqa: SLF001


def test_who_asks_is_told_by_key_or_address(settings: Settings) -> None:
    limits = Limits(settings)
    scope = {"type": "http", "client": ("203.0.113.9", 1), "headers": [], "state": {"caller": Caller("abc")}}
    assert limits.name_of(scope) == "abc"
    assert limits.bucket_of(scope) is None
    scope["state"] = {"caller": Caller()}
    assert limits.name_of(scope) == "203.0.113.9"
    assert limits.bucket_of(scope) is None
