"""Work beside a block: begun with it and ended with it, whatever happens in between."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress

import structlog

AGAIN_SECONDS = 1.0
Flush = Callable[[], Awaitable[None]]
log = structlog.get_logger(__name__)


@asynccontextmanager
async def beside(work: Coroutine[object, object, None], name: str) -> AsyncIterator[None]:
    """Run it for as long as the block lasts, and cancel it then.

    Args:
        work: what to run.
        name: the task's, as a debugger shows it.
    """
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await ended(task)


async def ended(task: "asyncio.Task[object]") -> None:
    """Cancel a task, and wait until it has ended.

    In Python 3.11 `asyncio.wait_for`, which drivers use, loses a cancellation that comes when what it waits for is done: so a task
    that goes on is cancelled again.
    """
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=AGAIN_SECONDS)


def heed() -> None:
    """Break off where this task was cancelled and an `await` of its own has lost that (see `ended`); for loops that last."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


@asynccontextmanager
async def flushed(flush: Flush, what: str, every_seconds: float, last_seconds: float) -> AsyncIterator[None]:
    """Flush again and again for as long as the block lasts, and once more when it ends.

    A flush that fails is warned of once, until one works again: what it couldn't write is its own to keep.

    Args:
        flush: writes down what there is.
        what: is written down, for the warning.
        every_seconds: between two flushes.
        last_seconds: how long the end may wait for the last one.
    """
    ending = asyncio.Event()
    task = asyncio.create_task(_flush(flush, what, every_seconds, ending), name=what)
    try:
        yield
    finally:
        ending.set()
        await asyncio.wait([task], timeout=last_seconds)
        await ended(task)


async def _flush(flush: Flush, what: str, every_seconds: float, ending: asyncio.Event) -> None:
    able, last = True, False
    while not last:
        with suppress(TimeoutError):
            await asyncio.wait_for(ending.wait(), every_seconds)
        last = ending.is_set()
        try:
            await flush()
            able = True
        except Exception as error:  # noqa: BLE001  # whatever it is, it goes on
            if able:
                log.warning("it can't be written down yet", what=what, reason=reason_of(error))
            able = False


def reason_of(error: Exception) -> str:
    """The first line of what was said: by the driver, where SQLAlchemy only passes it on; else what a problem says to people."""
    said = getattr(error, "detail", None) or getattr(error, "orig", None) or error
    return str(said).partition("\n")[0] or type(error).__name__
