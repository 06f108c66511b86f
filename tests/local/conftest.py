"""A directory for the servers of one test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import local
from service.local import places, postgres, redis
from service.local.places import Places


@pytest.fixture
def room() -> Iterator[Path]:
    """An empty directory with a short path that every user can pass through."""
    made = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def directory(room: Path) -> Iterator[Path]:
    """Where a test's servers live; they are stopped afterwards."""
    named = room / "s"
    yield named
    local.stop(named)


@pytest.fixture(scope="session")
def running() -> Iterator[local.Servers]:
    """Servers for tests that only look."""
    with tempfile.TemporaryDirectory(prefix="sm-", dir="/tmp") as named:
        Path(named).chmod(0o755)
        yield local.start(Path(named, "s"), durable=False)
        local.stop(Path(named, "s"))


@pytest.fixture
def arranged(room: Path) -> Iterator[Places]:
    """Places for servers that a test starts singly."""
    named = room / "s"
    named.mkdir(mode=0o755)
    yield places.arrange(named)
    for part in (postgres, redis):
        part.stop(places.arrange(named))


@pytest.fixture
def outside(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for /var/lib/shelfmark, which tests leave alone."""
    monkeypatch.setattr(places, "OUTSIDE", room / "outside")
    return room / "outside"
