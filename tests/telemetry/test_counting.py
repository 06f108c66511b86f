"""Numbers: counted by range, and of several processes put together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.telemetry.counting import SECONDS, Family, Numbers, Spread, gathered, together

ASKED = Family("asked_total", "counter", "", ("table",))
BUSY = Family("busy", "gauge", "")
AWAY = Family("away", "gauge", "", together="max")
TOOK = Family("took_seconds", "histogram", "", (), (1.0, 2.0))
FAMILIES = {family.name: family for family in (ASKED, BUSY, AWAY, TOOK)}


@given(st.lists(st.floats(0, 20, allow_nan=False)))
def test_a_spread_counts_each_value_once(values: list[float]) -> None:
    spread = Spread()
    for value in values:
        spread.add(value)
    bounds = [*SECONDS, float("inf")]
    below = [float("-inf"), *SECONDS]
    assert spread.counts == [sum(low < value <= high for value in values) for low, high in zip(below, bounds, strict=True)]
    assert spread.numbers()[-1] == pytest.approx(sum(values))


def test_a_value_may_count_several_times() -> None:
    spread = Spread((1.0, 2.0))
    spread.add(2.0, 3)
    assert spread.numbers() == [0, 3, 0, 6.0]


def test_what_several_count_of_the_same_is_added_up() -> None:
    def one() -> list[tuple[str, tuple[str, ...], list[float]]]:
        return [("asked_total", ("books",), [1]), ("asked_total", ("loans",), [5])]

    assert gathered([one, one]) == {"asked_total": {("books",): [2], ("loans",): [10]}}


def process(asked: float, busy: float, away: float) -> Numbers:
    """What one process has."""
    return {
        "asked_total": {("books",): [asked]},
        "busy": {(): [busy]},
        "away": {(): [away]},
        "took_seconds": {(): [asked, 0, 1, asked]},
    }


def test_processes_are_added_up() -> None:
    """Of those that ended only what they counted stays. A gauge of which any process can tell is told once."""
    found = together(FAMILIES, [process(1, 2, 3), process(10, 20, 3)], [process(100, 200, 300)])
    assert found == {
        "asked_total": {("books",): [111]},
        "busy": {(): [22]},
        "away": {(): [3]},
        "took_seconds": {(): [111, 0, 3, 111]},
    }


def test_nobodys_numbers_are_changed() -> None:
    mine = process(1, 2, 3)
    together(FAMILIES, [mine, process(1, 2, 3)])
    assert mine == process(1, 2, 3)


@pytest.mark.parametrize(
    "other", [{"unknown": {(): [1.0]}}, {"asked_total": {(): [1.0]}}, {"took_seconds": {(): [1.0, 1.0]}}, {"busy": {(): []}}]
)
def test_numbers_of_another_version_are_left_out(other: Numbers) -> None:
    found = together(FAMILIES, [other, process(1, 2, 3)])
    assert found == process(1, 2, 3)
