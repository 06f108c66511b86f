"""What a fault's test says of itself: which fault it is, what is done, what must hold, what it needs, and what it measured."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache

import pytest

FAULT, FIGURE, LACKING = "fault", "figure", "lacking"
"""Names of the properties of a report that the table is made of."""


@dataclass(frozen=True)
class Fault:
    """A row of the table, but for what was measured.

    Attributes:
        name: as F1, and which part of it where there are several.
        done: what is done to the service, or to what it depends on.
        holds: what must hold all the same.
    """

    name: str
    done: str
    holds: str


@dataclass(frozen=True)
class Need:
    """A program or a right that a test can't do without.

    Attributes:
        is_met: whether it is there.
        reason: why the test is skipped where it isn't.
        to_be_had: whether this machine could have it, so that a run of all faults without it is no whole run.
    """

    is_met: Callable[[], bool]
    reason: str
    to_be_had: Callable[[], bool]


class Figures:
    """Takes down what a test measures, for the table at the end of the run."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self._properties = properties

    def tell(self, figure: str) -> None:
        """Take down a figure, in words and with its unit, before it is compared with what it must be."""
        self._properties.append((FIGURE, figure))


def fault(name: str, *, done: str, holds: str, needs: Need | None = None) -> pytest.MarkDecorator:
    """Say which fault a test is of; `name` may end in a part, as `F9a`, and the test's parameters are added to it."""
    return pytest.mark.fault(name, done=done, holds=holds, needs=needs)


def described(item: pytest.Item) -> tuple[str, str] | None:
    """The property that tells of which fault a test is."""
    marker = item.get_closest_marker(FAULT)
    if marker is None:
        return None
    callspec = getattr(item, "callspec", None)
    name = f"{marker.args[0]}, {callspec.id}" if callspec else marker.args[0]
    return FAULT, json.dumps(asdict(Fault(name, marker.kwargs["done"], marker.kwargs["holds"])))


@cache
def may_mount() -> bool:
    """Whether this user may mount a file system of a bounded size."""
    if shutil.which("mount") is None or os.geteuid() != 0:
        return False
    with tempfile.TemporaryDirectory() as directory:
        tried = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", directory], check=False, capture_output=True)
        if tried.returncode == 0:
            subprocess.run(["umount", directory], check=True)
    return tried.returncode == 0


FAKETIME = Need(
    lambda: shutil.which("faketime") is not None,
    "faketime isn't installed: apt-get install faketime",
    lambda: sys.platform == "linux",
)
MOUNT = Need(may_mount, "this user may not mount a file system: run it as root, outside of a container", lambda: False)
