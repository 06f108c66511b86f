"""Work beside a block begins and ends with it; what is to be written down is, once more at the end."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from service import background
from service.background import beside, flushed, heed
from service.errors import Unavailable

SOON, LATE = 0.001, 60.0


async def test_work_ends_with_its_block() -> None:
    began, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        began.set()
        try:
            await asyncio.sleep(LATE)
        finally:
            ended.set()

    async with beside(work(), "work"):
        await began.wait()
        assert not ended.is_set()
    assert ended.is_set()


async def test_work_that_loses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "AGAIN_SECONDS", SOON)
    lost, began = 0, asyncio.Event()

    async def work() -> None:
        nonlocal lost
        began.set()
        for _ in range(3):
            try:
                await asyncio.sleep(LATE)
            except asyncio.CancelledError:
                lost += 1
        await asyncio.sleep(LATE)

    async with asyncio.timeout(LATE / 2), beside(work(), "work"):
        await began.wait()
    assert lost == 3


async def test_work_that_failed_is_no_matter_of_the_block() -> None:
    async def work() -> None:
        raise OSError

    async with beside(work(), "work"):
        await asyncio.sleep(SOON)


async def test_an_error_of_the_block_ends_the_work_and_is_raised() -> None:
    with pytest.raises(KeyError):
        async with beside(asyncio.sleep(LATE), "work"):
            raise KeyError
    assert [task.get_name() for task in asyncio.all_tasks() if task.get_name() == "work"] == []


async def test_it_is_written_down_again_and_again_and_once_more_at_the_end() -> None:
    times, enough = 0, asyncio.Event()

    async def flush() -> None:
        nonlocal times
        times += 1
        if times == 3:
            enough.set()

    async with flushed(flush, "counts", SOON, LATE):
        await enough.wait()
        before = times
    assert times > before
    async with asyncio.timeout(LATE), flushed(flush, "counts", LATE, LATE):
        before = times
    assert times == before + 1


async def test_the_end_waits_so_long_and_no_longer() -> None:
    stopped = asyncio.Event()

    async def flush() -> None:
        try:
            await asyncio.sleep(LATE)
        finally:
            stopped.set()

    async with asyncio.timeout(LATE / 2), flushed(flush, "counts", LATE, SOON):
        pass
    assert stopped.is_set()


async def test_a_failure_is_told_once_until_it_works_again() -> None:
    outcomes = failing()
    done = asyncio.Event()

    async def flush() -> None:
        error = next(outcomes, None)
        if error == "done":
            done.set()
        elif error is not None:
            raise error if isinstance(error, Exception) else RuntimeError

    with capture_logs() as logs:
        async with flushed(flush, "counts", SOON, LATE):
            await done.wait()
    assert [(one["what"], one["reason"]) for one in logs] == [("counts", "gone"), ("counts", "ValueError")]


def failing() -> Iterator[Exception | str | None]:
    """Two failures, one that works, a failure without a word, and the end."""
    yield from (Unavailable("gone"), OSError("still"), None, ValueError(), "done")


async def test_a_lost_cancellation_is_heeded() -> None:
    began = asyncio.Event()

    async def loses() -> None:
        with suppress(asyncio.CancelledError):  # as a driver does
            began.set()
            await asyncio.sleep(60)
        heed()
        await asyncio.sleep(60)

    task = asyncio.create_task(loses())
    await began.wait()
    task.cancel()
    await asyncio.wait([task], timeout=LATE)
    assert task.cancelled()
    heed()
