"""Waiting for a condition, with a bound."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from time import monotonic

PATIENCE_SECONDS = 20.0
PAUSE_SECONDS = 0.002
LATE_SECONDS = 10.0
"""How late a busy machine may be with what should be done at once, where the mistake would last far longer, or for ever."""


async def until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> float:
    """Wait until a condition, or an asynchronous one, holds; the seconds it took.

    Raises:
        TimeoutError: it didn't in time.
    """
    began = monotonic()
    while not await _held(condition):
        if monotonic() - began > seconds:
            raise TimeoutError(f"it didn't happen within {seconds} s: {_source(condition)}")
        await asyncio.sleep(PAUSE_SECONDS)
    return monotonic() - began


async def _held(condition: Callable[[], object]) -> object:
    found = condition()
    return await found if isinstance(found, Awaitable) else found


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except TypeError:  # something that is called, and no function
        return repr(condition)
