"""What can be wrong with a cluster, and the sentence that it ends in."""

import os
import resource
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from service import local
from service.errors import SetupError
from service.local import daemons, places, postgres, programs
from tests.local.looking import ask, places_of, printed, process, python, until


@pytest.fixture
def cluster(directory: Path) -> Path:
    """Where a cluster will be; there is none yet."""
    directory.mkdir()
    directory.chmod(0o755)
    return places.arrange(directory).data / "postgres"


def test_another_version(directory: Path, cluster: Path) -> None:
    """Names both versions and the way out."""
    cluster.mkdir()
    (cluster / "PG_VERSION").write_text("17\n")
    with pytest.raises(SetupError, match=r"made by PostgreSQL 17; this is PostgreSQL 18.*Export them with PostgreSQL 17"):
        local.start(directory)
    assert (cluster / "PG_VERSION").read_text() == "17\n"


def test_no_cluster_at_all(directory: Path, cluster: Path) -> None:
    """A directory of that name without a version is not touched."""
    cluster.mkdir()
    (cluster / "base").write_text("precious")
    with pytest.raises(SetupError, match="is no PostgreSQL data directory"):
        local.start(directory)
    assert (cluster / "base").read_text() == "precious"


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["the command", "all it started"])
def test_a_start_that_was_killed(directory: Path, kill: Callable[[int, int], None]) -> None:
    """In the middle of initdb, which survives or not: the next start makes the cluster."""
    half = directory / "data" / "postgres.new"
    code = "import sys; from pathlib import Path; from service import local; local.start(Path(sys.argv[1]), durable=False)"
    with python(code, directory, start_new_session=True) as command:
        until(half.exists)
        kill(command.pid, signal.SIGKILL)
        command.communicate()
    assert half.exists()
    assert ask(local.start(directory, durable=False), "select 1") == "1"
    assert not half.exists()


def test_initdb_that_fails(directory: Path, cluster: Path) -> None:
    """Says why, and leaves nothing half-made. Here no file may grow beyond 100 kB."""
    code = (
        "import sys; from pathlib import Path; from service import local; from service.errors import SetupError\n"
        "try: local.start(Path(sys.argv[1]))\nexcept SetupError as error: print(error)\nelse: print('started')"
    )
    small = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    said = printed(python(code, directory, preexec_fn=small))
    assert said.startswith("PostgreSQL's initdb failed.")
    assert "then run the command again" in said
    assert sorted(path.name for path in cluster.parent.iterdir()) == ["postgres.lock", "sockets"]


def test_a_full_disk_is_called_by_its_name(cluster: Path) -> None:
    """The advice is to make room."""
    found = places.recorded(cluster.parents[1])
    assert found is not None
    output = 'could not write to file "pg_wal/xlogtemp.29": No space left on device'
    said = postgres._failure("initdb", output, found)  # noqa: SLF001 filling a disk takes root and a file system
    assert f"The disk that holds {found.data} is full: make room, then run the command again." in said


def test_a_server_that_ends_at_once(directory: Path, cluster: Path) -> None:
    """The sentence carries the end of the log, of this start only, and where the log is."""
    local.start(directory, durable=False)
    local.stop(directory)
    with (cluster / "postgresql.conf").open("a") as configuration:
        configuration.write("nonsense = 1\n")
    with pytest.raises(SetupError, match="PostgreSQL ended as it was started") as caught:
        local.start(directory)
    assert 'unrecognized configuration parameter "nonsense"' in str(caught.value)
    assert str(directory / "postgres.log") in str(caught.value)
    assert "ready to accept connections" not in str(caught.value)


def test_a_server_that_hangs(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stopped process ends in a sentence for start and for stop, and goes on when it is let."""
    local.start(directory, durable=False)
    server = process(directory)
    os.kill(server, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(postgres, "PATIENCE_SECONDS", 0.3)
            patched.setattr(daemons, "PATIENCE_SECONDS", 0.3)
            with pytest.raises(SetupError, match=r"didn't end within 0 s\. Its server may hang"):
                local.start(directory)
            with pytest.raises(SetupError, match=r"PostgreSQL in .* didn't stop within 0 s"):
                local.stop(directory)
    finally:
        os.kill(server, signal.SIGCONT)
    assert local.stop(directory)


def test_a_server_that_someone_started_by_hand(directory: Path) -> None:
    """Is never doubled: the sentence names its process."""
    local.start(directory, durable=False)
    local.stop(directory)
    found = places_of(directory)
    binaries = programs.postgres(found.account)
    by_hand = [str(binaries / "pg_ctl"), "-D", str(found.data / "postgres"), "-w"]
    listening = ["-o", f"-c listen_addresses='' -k {found.sockets}", "-l", "/dev/null", "start"]
    quiet = {"stdout": subprocess.DEVNULL, "cwd": found.data, **found.account.arguments()}
    subprocess.run([*by_hand, *listening], check=True, **quiet)
    try:
        with pytest.raises(SetupError, match=rf"not started by `shelfmark up`.*process {process(directory)}\)"):
            local.start(directory)
    finally:
        subprocess.run([*by_hand, "-m", "fast", "stop"], check=True, **quiet)
    assert not local.start(directory, durable=False).found


def test_quicker_for_tests(running: local.Servers) -> None:
    """What is not durable doesn't sync, but is vacuumed as ever."""
    names = ("fsync", "full_page_writes", "synchronous_commit", "autovacuum")
    assert [ask(running, f"show {name}") for name in names] == ["off", "off", "off", "on"]
