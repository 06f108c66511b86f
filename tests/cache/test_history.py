"""The checker itself: it must know an old read from a new one, or it proves nothing."""

import pytest

from tests.cache.history import History, Read, Register


def history() -> History:
    """Versions 1 to 3, sent at 1, 2 and 3 seconds; the last one isn't acknowledged."""
    return History({"k": Register([1.0, 2.0, 3.0], [(1.1, 1), (2.1, 2)])})


def read(began: float, version: int, ended: float | None = None) -> Read:
    """A read of a version."""
    return Read("k", began, began + 0.01 if ended is None else ended, lambda one: one == version)


@pytest.mark.parametrize(
    ("one", "is_right"),
    [
        (read(0.5, 0), True),
        (read(0.5, 1), False),
        (read(1.05, 1), True),
        (read(1.05, 0), True),
        (read(1.14, 0), True),
        (read(1.2, 0), False),
        (read(2.05, 2), True),
        (read(2.2, 1), False),
        (read(2.2, 2), True),
        (read(2.9, 3), False),
        (read(2.9, 3, ended=3.1), True),
        (read(9.0, 3), True),
        (read(9.0, 2), True),
        (read(9.0, 1), False),
    ],
)
def test_what_is_old(one: Read, is_right: bool) -> None:
    made = history()
    made.reads = [one]
    assert (list(made.stale()) == []) is is_right


def test_after_a_fault_more_is_allowed_for_a_while() -> None:
    made = history()
    made.reads = [read(2.5, 1)]
    assert made.stale()
    made.faults = [(2.0, 2.2)]
    assert not made.stale()
    made.faults = [(0.0, 0.5)]
    assert made.stale()
    assert not made.stale(losses=[2.3])
    assert made.stale(losses=[0.9])


def test_by_how_much() -> None:
    assert history().behind(read(2.5, 1)) == pytest.approx(0.4, abs=0.11)
    assert history().behind(read(2.5, 2)) == 0
