"""What stood before a process began to serve is never visited again; what comes later is collected as ever."""

import asyncio
import gc
import weakref
from collections.abc import Iterator

import pytest
from uvicorn import Config

from service.cli.collecting import YOUNG_MOST, settle
from service.cli.stopping import Draining
from tests.waiting import until


class Knot:
    """What only a collection frees."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    before = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*before)


def test_what_stood_before_is_left_alone() -> None:
    seen = gc.get_objects()
    settle()
    assert gc.get_freeze_count() > len(seen) // 2
    assert not any(one is seen for one in gc.get_objects())
    assert gc.get_threshold()[0] == YOUNG_MOST


async def test_a_server_leaves_alone_what_stood_before_it_served() -> None:
    server = Draining(Config("bench.ladder.apps.constant:app", factory=True, port=0, lifespan="off", log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    assert gc.get_freeze_count() > 0
    server.should_exit = True
    await serving


def test_garbage_of_before_is_freed_first() -> None:
    gone = weakref.ref(Knot())
    settle()
    assert gone() is None


def test_garbage_of_later_is_collected() -> None:
    settle()
    gone = weakref.ref(Knot())
    gc.collect()
    assert gone() is None
