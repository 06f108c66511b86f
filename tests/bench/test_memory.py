"""Whether memory grows is told by the end of a run, not by its beginning."""

import pytest

from bench.memory import verdict


@pytest.mark.parametrize(
    ("megabytes", "most", "growth"),
    [
        ([90.0, 110, 111, 111, 111, 111], 111, 0),
        ([100.0, 110, 120, 130, 140, 150], 150, 20),
        ([100.0, 180, 110, 110, 110, 110], 180, 0),
        ([100.0], 100, 0),
    ],
)
def test_verdict(megabytes: list[float], most: float, growth: float) -> None:
    assert verdict(megabytes) == (most, growth)
