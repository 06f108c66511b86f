"""`shelfmark doctor`: what is well, and each thing that can be wrong."""

from pathlib import Path

import pytest

from service import migrations
from service.cli.doctor import run
from tests.cli.processes import SECRET, unused_port
from tests.fixtures.servers import Servers


class Doctor:
    """Calls the command in an environment of its own."""

    def __init__(self, patch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capfd = patch, capfd

    def __call__(self, **environment: str) -> tuple[int, list[str]]:
        """Its exit code, and the findings that are bad."""
        for name, value in environment.items():
            self.patch.setenv(name, value)
        code = 0
        try:
            run()
        except SystemExit as end:
            code = int(str(end.code))
        lines = self.capfd.readouterr().out.splitlines()
        assert all(line.startswith(("ok  ", "bad ")) for line in lines), lines
        return code, [line[4:] for line in lines if line.startswith("bad")]


@pytest.fixture
def ask(
    tmp_path: Path, database_url: str, servers: Servers, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Doctor:
    """A doctor who finds everything well, in a directory without a `.env`, until a test changes something."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("REDIS_URL", servers.redis)
    monkeypatch.setenv("SHELFMARK_SECRETS", SECRET)
    return Doctor(monkeypatch, capfd)


def test_all_is_well(ask: Doctor) -> None:
    """It ends with 0."""
    assert ask() == (0, [])


def test_nothing_is_set(ask: Doctor) -> None:
    """It says what to set, and that `up` would do without."""
    code, (found,) = ask(DATABASE_URL="", REDIS_URL="", SHELFMARK_SECRETS="")
    assert code == 1
    assert found.startswith("DATABASE_URL is not set")


def test_a_wrong_setting(ask: Doctor) -> None:
    """It names the variable and nothing of its value."""
    code, (found, detail) = _two(ask, DATABASE_URL="mysql://me:hunter2@host/name")
    assert code == 1
    assert found == "The settings can't be used:"
    assert detail == "DATABASE_URL: must begin with postgresql://"


def _two(ask: Doctor, **environment: str) -> tuple[int, tuple[str, str]]:
    """A finding of two lines."""
    for name, value in environment.items():
        ask.patch.setenv(name, value)
    with pytest.raises(SystemExit) as end:
        run()
    first, second = ask.capfd.readouterr().out.splitlines()
    return int(str(end.value.code)), (first[4:], second.strip())


def test_no_secrets(ask: Doctor) -> None:
    """With a configured database, `serve` will want them."""
    code, (found,) = ask(SHELFMARK_SECRETS="")
    assert code == 1
    assert found.startswith("SHELFMARK_SECRETS is not set: `serve` needs it.")


def test_the_database_is_away(ask: Doctor) -> None:
    """One bad finding, without the password; Redis is looked at all the same."""
    code, (found,) = ask(DATABASE_URL=f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name")
    assert code == 1
    assert found.startswith("PostgreSQL: The database can't be reached")
    assert "hunter2" not in found


def test_behind_head(ask: Doctor, empty_database: str) -> None:
    """It says what is missing and what to run."""
    code, found = ask(DATABASE_URL=empty_database)
    assert code == 1
    assert found[0] == f"the database is at no migration, the code at {migrations.head()}: run `shelfmark migrate`"
    assert "table books is missing: run `shelfmark migrate`" in found


def test_redis_is_away(ask: Doctor) -> None:
    """The database is well all the same."""
    code, (found,) = ask(REDIS_URL=f"redis://:hunter2@127.0.0.1:{unused_port()}/0")
    assert code == 1
    assert found.startswith("Redis can't be reached")
    assert "hunter2" not in found


def test_more_connections_than_there_are(ask: Doctor) -> None:
    """The arithmetic is shown."""
    code, (found,) = ask(SHELFMARK_READ_POOL_SIZE="400", WEB_CONCURRENCY="3")
    assert code == 1
    assert found.startswith("3 x (400 + 4) = 1212 connections of the ")


@pytest.fixture
def unlike_text(tmp_path: Path) -> Path:
    """A `.env` that is no text."""
    file = tmp_path / ".env"
    file.write_bytes(b"\xff\xfe")
    return file


def test_a_spoilt_env_file(ask: Doctor, unlike_text: Path) -> None:
    """It is named."""
    code, (found,) = ask()
    assert code == 1
    assert found.startswith(f"{unlike_text.name} can't be read")
