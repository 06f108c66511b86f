"""Which servers a command talks to."""

from pathlib import Path

import pytest

from service import local
from service.errors import SetupError
from service.local import postgres, redis
from service.local.urls import database_url, redis_url
from service.settings import Settings, load
from tests.local.looking import kill, places_of

DATABASE = "postgresql+asyncpg://host/name"


def settings(**given: object) -> Settings:
    """These settings, and no `.env`."""
    return load(_env_file=None, **given)


def test_configured(tmp_path: Path) -> None:
    """The configured URLs are the ones; a migration goes past the pooler if it is told how."""
    one = settings(directory=tmp_path / "s", database_url=DATABASE, redis_url="redis://host:6379/0")
    assert database_url(one) == database_url(one, direct=True) == DATABASE
    assert redis_url(one) == "redis://host:6379/0"
    both = settings(directory=tmp_path / "s", database_url="postgresql://pooler/name", database_url_direct=DATABASE)
    assert database_url(both) == "postgresql+asyncpg://pooler/name"
    assert database_url(both, direct=True) == DATABASE


def test_nothing_configured_and_nothing_running(tmp_path: Path) -> None:
    """The sentence names the variable and the directory; nothing is made."""
    none = settings(directory=tmp_path / "s")
    for direct in (False, True):
        with pytest.raises(SetupError, match=rf"^DATABASE_URL is not set, and no PostgreSQL runs in {tmp_path}/s\..*shelfmark up"):
            database_url(none, direct=direct)
    assert redis_url(none) is None
    assert list(tmp_path.iterdir()) == []


def test_running(running: local.Servers, running_directory: Path) -> None:
    """Without a configured one, the servers of the directory are found."""
    found = settings(directory=running_directory)
    assert database_url(found) == database_url(found, direct=True) == running.database_url
    assert redis_url(found) == running.redis_url


def test_one_of_them_has_died(directory: Path) -> None:
    """The database is found without Redis. Redis is named without either: whoever calls it is told that it isn't there."""
    servers, found = local.start(directory, durable=False), settings(directory=directory)
    kill(places_of(directory), redis)
    assert database_url(found) == database_url(found, direct=True) == servers.database_url
    assert redis_url(found) == servers.redis_url
    local.start(directory, durable=False)
    kill(places_of(directory), postgres)
    with pytest.raises(SetupError, match=r"^DATABASE_URL is not set, and no PostgreSQL runs in "):
        database_url(found)
    assert redis_url(found) == servers.redis_url


def test_a_configured_database_brings_no_redis_of_up(running: local.Servers, running_directory: Path) -> None:
    """A service that names its database must not mix in a Redis that it finds by chance."""
    configured = settings(directory=running_directory, database_url=DATABASE)
    assert database_url(configured) == DATABASE != running.database_url
    assert redis_url(configured) is None


def test_a_direct_url_alone_is_for_migrations(running: local.Servers, running_directory: Path) -> None:
    """It doesn't stand in for DATABASE_URL."""
    direct = settings(directory=running_directory, database_url_direct=DATABASE)
    assert database_url(direct, direct=True) == DATABASE
    assert database_url(direct) == running.database_url


@pytest.fixture(scope="session")
def running_directory(running: local.Servers) -> Path:
    """Where the servers run that tests only look at."""
    return Path(running.database_url.partition("?host=")[2]).parents[1]
