"""What the layers around the routes cost, all together: the promise of docs/ARCHITECTURE.md, at full size."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

from bench.layers import BUDGET_MICROSECONDS, costs
from tests.http.test_layers import ORDER

ATTEMPTS = 3
"""Another process that takes the processor's caches makes it dearer; nothing makes it cheaper."""


def test_every_layer_has_its_row() -> None:
    found = asyncio.run(costs(rounds=1, requests=50))
    assert list(found) == [*(layer for layer in ORDER if layer != "Express"), "all"]  # the lane is no layer: it answers


@pytest.mark.slow
def test_all_layers_together_stay_below_their_budget(capsys: pytest.CaptureFixture[str]) -> None:
    """In a process of its own, which logs as a service does."""
    found = []
    for _ in range(ATTEMPTS):
        printed = subprocess.check_output([sys.executable, "-m", "bench.layers"], cwd=Path(__file__).parents[2], text=True)
        with capsys.disabled():
            print(f"\n{printed}")  # noqa: T201
        found += re.findall(r"^all +([\d.]+)", printed, re.MULTILINE)
        if float(found[-1]) <= BUDGET_MICROSECONDS:
            return
    pytest.fail(f"the layers cost {found} µs")
