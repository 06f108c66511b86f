"""Child processes load the same settings."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli.environment import exported
from service.settings import Settings, load

GIVEN = {
    "database_url": "postgresql://me:hunter2@host/name",
    "redis_url": "redis://host:6379/3",
    "secrets": "a" * 32 + "," + "b" * 32,
    "directory": Path("/srv/somewhere"),
    "web_concurrency": 3,
    "pool_wait_seconds": 0.25,
    "log_level": "warning",
}


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory without a `.env`."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("outside")
def test_the_same_settings_inside() -> None:
    """Whatever was given by name is found there, secrets too."""
    given = load(**GIVEN)
    with exported(given):
        assert load() == given
        code = "from service.settings import load; print(load().signing(), load().web_concurrency)"
        assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == f"{given.signing()} 3"
    assert load() == Settings()


@pytest.mark.usefixtures("outside")
def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it was, also when the block fails."""
    monkeypatch.setenv("SHELFMARK_PORT", "9000")
    before = dict(os.environ)
    with pytest.raises(ZeroDivisionError), exported(load(port=9001)):
        load().port / 0
    assert dict(os.environ) == before


@pytest.mark.usefixtures("outside")
def test_what_was_not_given_is_left_out() -> None:
    """A default that changes with a new version reaches the children as well."""
    before = dict(os.environ)
    with exported(load()):
        assert dict(os.environ) == before
