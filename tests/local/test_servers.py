"""Servers are started, found, stopped, killed and healed; their data stay."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
from redis import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service import local
from service.errors import SetupError
from service.local import postgres, redis
from service.local.accounts import for_new
from service.local.servers import revive
from tests.local.looking import AS_NOBODY, ask, kill, kill_both, places_of, printed, process, python, tell

START = """
import sys
from pathlib import Path
from service import local
print(local.start(Path(sys.argv[1]), durable=False).found)
"""


def test_a_life(directory: Path) -> None:
    """From nothing to running, found, attached, stopped and started, killed and healed: the data stay."""
    assert local.attach(directory) is None
    assert local.stop(directory) is False
    assert not directory.exists()
    first = local.start(directory)
    assert not first.found
    assert ask(first, "create table kept (n int); insert into kept values (7); select n from kept") == "7"
    tell(directory / "data/sockets", "set", "kept", "8")
    assert ask(first, "select concat(current_setting('fsync'), current_setting('synchronous_commit'))") == "onon"
    found = local.Servers(first.database_url, first.redis_url, found=True)
    assert local.start(directory) == found
    assert local.attach(directory) == found
    assert local.stop(directory) is True
    assert local.stop(directory) is False
    assert local.attach(directory) is None
    again = local.start(directory)
    assert not again.found
    assert ask(again, "select n from kept") == "7"
    kill_both(directory)
    assert (directory / "data/postgres/postmaster.pid").exists()
    assert local.attach(directory) is None
    healed = local.start(directory)
    assert not healed.found
    assert ask(healed, "select n from kept") == "7"
    assert tell(directory / "data/sockets", "get", "kept") == "8"


async def test_the_urls(running: local.Servers) -> None:
    """SQLAlchemy and redis-py take them as they are."""
    engine = create_async_engine(running.database_url)
    async with engine.connect() as connection:
        assert (
            await connection.execute(text("select current_user || '@' || current_database()"))
        ).scalar() == "shelfmark@shelfmark"
    await engine.dispose()
    with Redis.from_url(running.redis_url) as client:
        assert client.ping() is True


def test_what_is_missing_is_started(directory: Path) -> None:
    """With one server killed nothing can attach, and a start brings that one back beside the other. So with the database."""
    servers = local.start(directory, durable=False)
    kept = process(directory)
    kill(places_of(directory), redis)
    assert local.attach(directory) is None
    assert local.start(directory, durable=False) == servers
    assert process(directory) == kept
    ask(servers, "drop database shelfmark", database="postgres")
    local.start(directory, durable=False)
    assert ask(servers, "select current_database()") == "shelfmark"


def test_what_has_died_is_revived(directory: Path) -> None:
    """It is named, and comes back beside the other; where no data are left, nothing is made."""
    died: list[str] = []
    revive(directory, died.append)
    servers = local.start(directory)
    revive(directory, died.append)
    assert died == []
    for part, name in ((redis, "Redis"), (postgres, "PostgreSQL")):
        kill(places_of(directory), part)
        revive(directory, died.append)
        assert died.pop() == name
        assert local.attach(directory) == local.Servers(servers.database_url, servers.redis_url, found=True)
    local.stop(directory)
    shutil.rmtree(directory / "data" / "postgres")
    revive(directory, died.append)
    assert died == ["Redis"]
    assert not (directory / "data" / "postgres").exists()


def test_stale_pid_files_that_name_a_living_stranger(directory: Path) -> None:
    """Process numbers come round again: a pid file may name a process of the same user that is no server."""
    local.start(directory, durable=False)
    kill_both(directory)
    places = places_of(directory)
    with subprocess.Popen(["/bin/sleep", "60"], **places.account.arguments()) as stranger:
        for pid_file in (places.data / "postgres/postmaster.pid", places.sockets / ".s.PGSQL.5432.lock"):
            lines = pid_file.read_text().splitlines(keepends=True)
            pid_file.write_text("".join([f"{stranger.pid}\n", *lines[1:]]))
        (places.data / "redis/redis.pid").write_text(f"{stranger.pid}\n")
        assert local.stop(directory) is False
        assert ask(local.start(directory, durable=False), "select 1") == "1"
        local.stop(directory)
        assert stranger.poll() is None
        stranger.kill()


def test_two_at_once(directory: Path) -> None:
    """Of two processes that start the same servers, one starts them, the other finds them."""
    both = [python(START, directory), python(START, directory)]
    assert sorted(printed(each) for each in both) == ["False", "True"]


HOSTILE = {
    "PGDATA": "/nonexistent",
    "PGHOST": "nowhere.invalid",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "nothing",
    "PGOPTIONS": "-c fsync=banana",
    "LANG": "tr_TR.UTF-8",
    "LC_ALL": "tr_TR.UTF-8",
    "TZ": "Asia/Tokyo",
}


@pytest.mark.parametrize("environment", [{}, HOSTILE], ids=["empty", "hostile"])
def test_the_environment_does_not_leak_in(directory: Path, environment: dict[str, str]) -> None:
    """Encoding, locale and time zone are the same under `env -i` and under one that is full of PostgreSQL's variables."""
    assert printed(python(START, directory, env=environment)) == "False"
    servers = local.attach(directory)
    assert servers is not None
    assert ask(servers, "show server_encoding") == "UTF8"
    assert ask(servers, "select concat(datlocprovider, datlocale) from pg_database where datname = 'shelfmark'") == "bC.UTF-8"
    assert ask(servers, "select lower('É')") == "é"
    assert ask(servers, "show timezone") == "UTC"
    assert ask(servers, "show listen_addresses") == ""


def test_ctrl_c_reaches_the_command_only(directory: Path) -> None:
    """The servers live on in sessions of their own when the terminal interrupts whoever started them."""
    command = python(START + "sys.stdout.flush()\nimport signal\nsignal.pause()", directory, start_new_session=True)
    assert command.stdout is not None
    assert command.stdout.readline() == "False\n"
    os.killpg(command.pid, signal.SIGINT)
    command.communicate(timeout=60)
    assert command.returncode not in {0, None}
    assert local.attach(directory) is not None
    assert os.getsid(process(directory)) != command.pid
    assert os.getsid(process(directory, redis)) != command.pid


def test_an_ordinary_user(room: Path) -> None:
    """Without root everything belongs to the user; root finds such servers, and others are told whose they are."""
    home = room / "home"
    home.mkdir()
    account = for_new()
    account.own(home)
    code = AS_NOBODY + "print(local.start(Path(sys.argv[1]), durable=False).found)"
    assert printed(python(code, home / "s")) == "False"
    assert (home / "s").stat().st_uid == account.uid
    assert local.attach(home / "s") is not None
    assert local.start(home / "s", durable=False).found
    assert local.stop(home / "s")
    assert printed(python(code, home / "s")) == "False"
    assert local.stop(home / "s")


def test_an_unwritable_directory(room: Path) -> None:
    """The sentence names the directory and the setting."""
    closed = room / "closed"
    closed.mkdir(mode=0o555)
    code = AS_NOBODY + ("\ntry: local.start(Path(sys.argv[1]))\nexcept SetupError as error: print(error)\nelse: print('started')")
    said = printed(python(code, closed / "s"))
    assert f"{closed / 's'}: Permission denied" in said
    assert "set SHELFMARK_DIRECTORY" in said


def test_a_file_in_the_way(room: Path) -> None:
    """It is named, and left alone."""
    (room / "s").write_text("precious")
    with pytest.raises(SetupError, match="is a file, but the servers need a directory"):
        local.start(room / "s")
    assert local.attach(room / "s") is None
    assert (room / "s").read_text() == "precious"
