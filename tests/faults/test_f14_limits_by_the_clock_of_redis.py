"""F14, the part of the limits: a process whose clock is an hour or a day off decides as the others do, by the clock of Redis."""

import os
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults.figures import FAKETIME, Figures, fault
from tests.fixtures.servers import Servers

ROOT = Path(__file__).parents[2]
BURST = 20
ASKING = """
import asyncio, sys, time
from redis.asyncio import Redis
from service.http.limits import ASK, Limits
from service.settings import load

async def main(url, key, count):
    given = {"key_requests_per_second": 0.001, "key_requests_burst": 20, "limit_slice": 1}
    limits = Limits(load(_env_file=None, **given), Redis.from_url(url))
    answered = 0
    for _ in range(int(count)):
        bucket = limits.keys.of(key)
        wait = bucket.take(1, time.monotonic())
        answered += (await limits.ask(bucket, 1) if wait == ASK else wait) == 0
    print(int(time.time()), answered)
    await limits.aclose()

asyncio.run(main(*sys.argv[1:]))
"""


def asked(url: str, key: str, count: int, clock: str | None = None) -> tuple[int, int]:
    """What a process with another clock says the time is, and how many of so many requests it answers."""
    command = [sys.executable, "-c", ASKING, url, key, str(count)]
    before = ["faketime", "-f", clock] if clock else []
    environment = os.environ | {"PYTHONPATH": str(ROOT), "DONT_FAKE_MONOTONIC": "1"}
    done = subprocess.run([*before, *command], check=True, capture_output=True, text=True, env=environment, timeout=60)
    now, answered = done.stdout.split()
    return int(now), int(answered)


@fault(
    "F14, limits",
    done="one of the processes that count a limit has another clock",
    holds="all decide by the clock of Redis: together they answer what the limit allows",
    needs=FAKETIME,
)
@pytest.mark.parametrize("clock", ["+1h", "-1h", "+25h"])
def test_limits_by_the_clock_of_redis(clock: str, servers: Servers, figures: Figures) -> None:
    key = str(uuid4())
    now, first = asked(servers.redis, key, 12)
    elsewhere, second = asked(servers.redis, key, 12, clock)
    _, third = asked(servers.redis, key, 12)
    figures.tell(f"{first} + {second} + {third} of a burst of {BURST}; its clock was {elsewhere - now:,} s off")
    assert abs(elsewhere - now) > 3500
    assert (first, second, third) == (12, 8, 0)


@pytest.mark.parametrize("name", ["limits", "slices"])
def test_no_wall_clock_is_asked(name: str) -> None:
    """Also where faketime isn't installed: what counts time here is Redis, and the process's own steady clock."""
    source = (ROOT / "service" / "http" / f"{name}.py").read_text()
    assert "datetime" not in source
    assert "time.time" not in source
