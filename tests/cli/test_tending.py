"""The servers of `up` while it runs: one that dies comes back, and a line says so."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from service import local
from service.cli import tending
from service.cli.tending import tended
from service.local import postgres, redis
from tests.fixtures.processes import until
from tests.local.looking import kill, places_of, process


@pytest.fixture
def directory(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where servers run; one that dies is noticed soon, however often."""
    monkeypatch.setattr(tending, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(tending, "LOOK_MOST_SECONDS", 0.1)
    where = scratch / ".shelfmark"
    local.start(where)
    yield where
    local.stop(where)


def test_one_that_dies_is_begun_anew(directory: Path) -> None:
    said, kept = io.StringIO(), process(directory)
    with tended(directory, Console(file=said, width=500)):
        for _ in range(2):
            kill(places_of(directory), redis)
            until(lambda: local.attach(directory) is not None, said.getvalue)
    assert said.getvalue().count("Redis has died, and is begun anew.") == 2
    assert process(directory) == kept
    assert "PostgreSQL" not in said.getvalue()


def test_one_that_cannot_be_begun_is_tried_again(directory: Path) -> None:
    said, version = io.StringIO(), places_of(directory).data / "postgres" / "PG_VERSION"
    with tended(directory, Console(file=said, width=500)):
        hidden = version.rename(version.with_name("hidden"))
        kill(places_of(directory), postgres)
        until(lambda: "PG_VERSION is missing" in said.getvalue(), said.getvalue)
        hidden.rename(version)
        until(lambda: local.attach(directory) is not None, said.getvalue)


def test_none_is_begun_after_the_end(directory: Path) -> None:
    said = io.StringIO()
    with tended(directory, Console(file=said, width=500)):
        pass
    kill(places_of(directory), redis)
    assert (local.attach(directory), said.getvalue()) == (None, "")
