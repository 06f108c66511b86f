"""PostgreSQL from a wheel: a cluster of our own making, reached by a unix socket only.

Encoding and locale are named, never taken from the environment: under an empty one initdb would choose SQL_ASCII, where `lower`
folds ASCII only and any bytes are text.
"""

import shutil
import signal
import subprocess
from pathlib import Path

from service.errors import SetupError
from service.local import programs
from service.local.daemons import PATIENCE_SECONDS, Daemon, end, launch, listens, settle
from service.local.held import handed
from service.local.places import Places

NAME = "shelfmark"
"""Of the database and of its owner, who is the cluster's superuser."""
SOCKET = ".s.PGSQL.5432"
INITDB = (
    f"--username={NAME}",
    "--encoding=UTF8",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--locale=C",
    "--auth-local=trust",  # only its owner can enter the directory of the socket
    "--auth-host=reject",
    "--no-instructions",
)
ALWAYS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
}
FLEETING = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
}
"""For tests: quicker, and a crash of the machine may cost the data."""
CREATE = f"select 'create database {NAME}' where not exists (select from pg_database where datname = '{NAME}') \\gexec\n"
# postmaster.pid, see miscadmin.h: process, data directory, start, port, socket directory, address, memory, status
PORT_LINE, SOCKETS_LINE, STATUS_LINE = 3, 4, 7


def daemon(places: Places) -> Daemon:
    """The server as it stands in its places, running or not."""
    cluster = places.data / "postgres"
    return Daemon(
        name="PostgreSQL",
        data=cluster,
        lock=places.data / "postgres.lock",
        log=places.directory / "postgres.log",
        pid_file=cluster / "postmaster.pid",
        ending=signal.SIGINT,  # its "fast" shutdown: sessions are ended, nothing committed is lost
        answers=lambda: _ready(cluster) and listens(places.sockets / SOCKET),
    )


def start(places: Places, *, durable: bool) -> bool:
    """Make sure the server and its database are there; true if the server was running already.

    Raises:
        SetupError: it can't be started; the sentence says why and what to do.
    """
    server = daemon(places)
    binaries = programs.postgres(places.account)
    found = settle(server)
    if not found:
        _prepare(places, binaries, durable=durable)
        launch(server, _command(places, binaries, durable=durable), places.account)
    _create_database(places, binaries)
    return found


def stop(places: Places) -> bool:
    """End the server and wait for it; true if it ran."""
    return end(daemon(places))


def _ready(cluster: Path) -> bool:
    lines = _pid_lines(cluster)
    return len(lines) > STATUS_LINE and lines[STATUS_LINE].strip() == "ready"


def _pid_lines(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _command(places: Places, binaries: Path, *, durable: bool) -> list[str]:
    settings = {**ALWAYS, "unix_socket_directories": str(places.sockets), **({} if durable else FLEETING)}
    given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    return [str(binaries / "postgres"), "-D", str(places.data / "postgres"), *given]


def _prepare(places: Places, binaries: Path, *, durable: bool) -> None:
    cluster = places.data / "postgres"
    if cluster.exists():
        _check_version(cluster, _tool(places, [str(binaries / "postgres"), "--version"]))
        _clear_leftovers(places, cluster)
    else:
        _initialise(places, binaries, durable=durable)


def _check_version(cluster: Path, words: str) -> None:
    """Compare the cluster's major version with that of the program, such as `postgres (PostgreSQL) 18.6`."""
    here = words.removeprefix("postgres (PostgreSQL) ").split(".", maxsplit=1)[0]
    try:
        made = (cluster / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise SetupError(
            f"{cluster} is no PostgreSQL data directory: PG_VERSION is missing. Restore it from a backup, "
            "or move it away to begin with an empty database."
        ) from None
    if made != here:
        raise SetupError(
            f"The data in {cluster} were made by PostgreSQL {made}; this is PostgreSQL {here}, which can't read them. "
            f"Export them with PostgreSQL {made} (pg_dump), or move {cluster} away to begin with an empty database."
        )


def _clear_leftovers(places: Places, cluster: Path) -> None:
    """Remove what a killed server left; PostgreSQL itself gives up when another process of this user has the old number.

    Our lock is free, so no process that was started here lives. Someone may have started the cluster by hand, though.
    """
    lines = _pid_lines(cluster)
    if len(lines) > SOCKETS_LINE and not lines[SOCKETS_LINE]:
        return  # started by hand, without a socket: PostgreSQL finds out whether it lives, and says so
    if len(lines) > SOCKETS_LINE and listens(Path(lines[SOCKETS_LINE], f".s.PGSQL.{lines[PORT_LINE]}")):
        raise SetupError(
            f"A PostgreSQL that was not started by `shelfmark up` runs on {cluster} (process {lines[0]}). "
            "Stop it (`kill -INT` that process), then run the command again."
        )
    for leftover in (cluster / "postmaster.pid", places.sockets / SOCKET, places.sockets / f"{SOCKET}.lock"):
        leftover.unlink(missing_ok=True)


def _initialise(places: Places, binaries: Path, *, durable: bool) -> None:
    """Make the cluster under another name first: what stands under its own name is whole.

    initdb holds the server's lock, so that the next start waits for one that survived the command that ran it.
    """
    new = places.data / "postgres.new"
    shutil.rmtree(new, ignore_errors=True)
    sync = [] if durable else ["--no-sync"]
    try:
        with handed(daemon(places).lock) as lock:
            _tool(places, [str(binaries / "initdb"), f"--pgdata={new}", *INITDB, *sync], keep=(lock,))
        new.rename(places.data / "postgres")
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _create_database(places: Places, binaries: Path) -> None:
    access = [f"--host={places.sockets}", f"--username={NAME}", "--dbname=postgres"]
    _tool(places, [str(binaries / "psql"), "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", *access], given=CREATE)


def _tool(places: Places, command: list[str], *, given: str = "", keep: tuple[int, ...] = ()) -> str:
    """Run one of PostgreSQL's programs, which is given a text to read and open files to keep; what it printed."""
    name = Path(command[0]).name
    try:
        done: subprocess.CompletedProcess[str] = subprocess.run(  # noqa: S603 our own programs
            command,
            check=False,
            cwd=places.data,
            input=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=PATIENCE_SECONDS,
            pass_fds=keep,
            **places.account.arguments(),
        )
    except subprocess.TimeoutExpired:
        raise SetupError(
            f"PostgreSQL's {name} didn't end within {PATIENCE_SECONDS:.0f} s. Its server may hang: see "
            f"{places.directory / 'postgres.log'}, end its processes by hand, and run the command again."
        ) from None
    if done.returncode:
        raise SetupError(_failure(name, done.stdout, places))
    return done.stdout.strip()


def _failure(name: str, output: str, places: Places) -> str:
    full = "No space left on device" in output
    advice = f"The disk that holds {places.data} is full: make room" if full else "Put right what it names"
    lines = [f"  {line}" for line in output.strip().splitlines()[-8:]]
    return f"PostgreSQL's {name} failed. {advice}, then run the command again. It said:\n" + "\n".join(lines)
