"""When a loop refuses: not for one long piece of work, surely for an overload, and never for good."""

from collections import deque

import pytest

from service.http.lagging import CALM, LATE_TICKS, REFUSING_SECONDS, Lag

MOST = 0.1
TICK_SECONDS = 0.02
AT_ONCE = 1024
"""Events that a loop takes in one round."""


def late(lag: Lag, *seconds: float, now: float = 0.0) -> bool:
    """Whether it refuses after these ticks."""
    for one in seconds:
        lag.tick(one, now)
    return lag.over


def test_one_long_piece_of_work_is_no_overload() -> None:
    lag = Lag(MOST)
    assert not late(lag, 5.0, 0.0, 5.0, 5.0, 0.0)
    assert lag.calm
    assert lag.seconds == 0.0


def test_an_overload_is_refused_until_what_piled_up_is_gone() -> None:
    lag = Lag(MOST)
    assert late(lag, *[2 * MOST] * LATE_TICKS)
    assert late(lag, MOST * 0.9, MOST * CALM * 1.1)
    assert not late(lag, MOST * CALM * 0.9)
    assert lag.calm


def test_a_lag_that_stays_is_no_reason_to_refuse_for_good() -> None:
    lag = Lag(MOST)
    assert late(lag, *[2 * MOST] * LATE_TICKS)
    assert late(lag, 2 * MOST, now=REFUSING_SECONDS * 0.9)
    assert not late(lag, 2 * MOST, now=REFUSING_SECONDS * 1.1)
    assert late(lag, *[2 * MOST] * LATE_TICKS, now=REFUSING_SECONDS * 1.2)


def overloaded(answering: float, refusing: float, times: float, seconds: float = 20.0) -> tuple[float, float, int]:
    """A loop of which so many times as much is asked as it can do, told in seconds of its processor.

    Returns:
        The part of what it can do that it did, the 99th percentile of the seconds in which, and how many waited at the end.
    """
    lag, now, due, arriving = Lag(MOST), 0.0, TICK_SECONDS, 0.0
    waiting: deque[float] = deque()
    took: list[float] = []
    while now < seconds:
        while arriving <= now:
            waiting.append(arriving)
            arriving += answering / times
        over = lag.over
        for _ in range(min(len(waiting), AT_ONCE)):
            came = waiting.popleft()
            now += refusing if over else answering
            took += [] if over else [now - came]
        now = max(now, arriving) if not waiting else now
        if now >= due:
            lag.tick(now - due, now)
            due = now + TICK_SECONDS
    return len(took) * answering / seconds, sorted(took)[int(len(took) * 0.99)], len(waiting)


@pytest.mark.parametrize(("answering", "refusing"), [(0.0003, 0.00008), (0.001, 0.0001), (0.005, 0.0001)])
@pytest.mark.parametrize("times", [1.5, 2.0])
def test_enough_is_done_and_soon_enough(answering: float, refusing: float, times: float) -> None:
    done, took, waiting = overloaded(answering, refusing, times)
    assert done >= 0.6
    assert took <= 1.0
    assert waiting <= 2 * AT_ONCE


@pytest.mark.parametrize("times", [0.5, 0.9])
def test_what_can_be_done_is_done(times: float) -> None:
    done, took, waiting = overloaded(0.001, 0.0001, times)
    assert done == pytest.approx(times, abs=0.01)
    assert took <= MOST
    assert waiting == 0
