"""Where data and sockets go, and that nothing of the user's is opened for it."""

import json
import os
import stat
from pathlib import Path

import pytest

from service import local
from service.errors import SetupError
from service.local import accounts, places
from tests.local.looking import ask, needs_root, places_of


def test_everything_is_below_the_directory_and_private(room: Path) -> None:
    """The record's paths are relative, so that a project can be moved."""
    found = places.arrange(room)
    assert json.loads((room / "places.json").read_text()) == {"data": "data", "sockets": "data/sockets"}
    assert places.recorded(room) == found
    for private in (found.data, found.sockets):
        assert stat.S_IMODE(private.stat().st_mode) == 0o700
        assert private.stat().st_uid == found.account.uid


@pytest.mark.parametrize("name", ["x" * 90, "a b", "a,b", "a:1", "büro"])
def test_paths_that_no_socket_can_have(room: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Too long, or hard to write in a URL: the sockets go to a private directory with a short name."""
    monkeypatch.setattr(places, "SHORT", room)
    named = room / name
    named.mkdir(mode=0o755)
    found = places.arrange(named)
    assert found.data == named / "data"
    assert found.sockets.parent == room
    assert stat.S_IMODE(found.sockets.stat().st_mode) == 0o700


def test_servers_in_such_a_path_and_their_move_from_it(room: Path) -> None:
    """They run there; when the stopped project is moved, its data come along."""
    named = room / ("büro & co, ltd: 100%? " + "x" * 60) / "s"
    try:
        servers = local.start(named, durable=False)
        short = places_of(named).sockets
        assert short.parent == places.SHORT
        assert local.attach(named) == local.Servers(servers.database_url, servers.redis_url, found=True)
        ask(servers, "create table kept ()")
    finally:
        local.stop(named)
    short.rmdir()
    moved = named.rename(room / "s")
    try:
        servers = local.start(moved, durable=False)
        assert places_of(moved).sockets == moved / "data" / "sockets"
        assert ask(servers, "select count(*) from kept") == "0"
    finally:
        local.stop(moved)


def test_a_short_directory_of_somebody_else(room: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others could enter is refused, whoever made it, and so is a link."""
    monkeypatch.setattr(places, "SHORT", room)
    named = room / ("x" * 90)
    named.mkdir(mode=0o755)
    short = places.arrange(named).sockets
    assert short.parent == room
    short.chmod(0o755)
    with pytest.raises(SetupError, match=r"belongs to user \w+ alone \(mode 700\)"):
        places.arrange(named)
    short.rmdir()
    short.symlink_to(named)
    with pytest.raises(SetupError, match="must be a directory"):
        places.arrange(named)


def test_a_spoilt_record(directory: Path) -> None:
    """Is named; without it the data are found again."""
    directory.mkdir()
    directory.chmod(0o755)
    before = places.arrange(directory)
    for spoilt in ("", "[]", '{"data": 1}'):
        (directory / "places.json").write_text(spoilt)
        with pytest.raises(SetupError, match=r"places\.json, which says where the data are, can't be read"):
            local.start(directory)
    (directory / "places.json").unlink()
    assert places.arrange(directory) == before


@needs_root
def test_a_directory_that_only_root_can_enter(room: Path, outside: Path) -> None:
    """Root's servers run as another user: their data go elsewhere, the closed directory stays closed, the data stay."""
    closed = room / "closed"
    closed.mkdir(mode=0o700)
    servers = local.start(closed / "s", durable=False)
    try:
        found = places_of(closed / "s")
        assert found.data.parent == outside
        assert found.data.stat().st_uid == accounts.for_new().uid
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        ask(servers, "create table kept ()")
        local.stop(closed / "s")
        (closed / "s" / "places.json").unlink()
        assert ask(local.start(closed / "s", durable=False), "select count(*) from kept") == "0"
    finally:
        local.stop(closed / "s")


@needs_root
def test_data_whose_user_was_shut_out(room: Path) -> None:
    """A directory that was closed later is not opened; the sentence names the user."""
    named = room / "later" / "s"
    named.mkdir(parents=True)
    places.arrange(named)
    named.parent.chmod(0o700)
    with pytest.raises(SetupError, match="belong to user nobody, who can't get into"):
        places.arrange(named)
    assert stat.S_IMODE(named.parent.stat().st_mode) == 0o700


@needs_root
def test_data_of_another_ordinary_user_are_run_as_that_user(room: Path) -> None:
    """Root runs the servers as whoever owns the data."""
    (room / "s" / "data").mkdir(parents=True, mode=0o700)
    os.chown(room / "s" / "data", 12345, 12345)
    found = places.arrange(room / "s")
    assert (found.account.uid, found.account.gid, found.account.switch) == (12345, 12345, True)
    assert found.sockets.stat().st_uid == 12345
