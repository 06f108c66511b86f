"""`shelfmark serve`: what it refuses, and how its processes come and go."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from signal import Signals
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from tests.fixtures.databases import administering
from tests.fixtures.keys import ADMIN, bearer
from tests.fixtures.keys import SECRET as KEYS_SECRET
from tests.fixtures.processes import SECRET, SHELFMARK, Running, answers, members, run, running, taken, until, unused_port
from tests.fixtures.servers import Servers
from tests.waiting import LATE_SECONDS

CANARY = "canary77777777"


def test_without_secrets(scratch: Path) -> None:
    """It ends with 2, names the variable and says how to make one."""
    ended = run(scratch, SHELFMARK, "serve", DATABASE_URL="postgresql://nowhere.invalid/name")
    assert ended.code == 2
    assert ended.err.startswith("SHELFMARK_SECRETS is not set")
    assert "openssl rand -hex 32" in ended.err


def test_a_directory_for_files_that_cannot_be_used(scratch: Path) -> None:
    given = {"DATABASE_URL": "postgresql://nowhere.invalid/name", "SHELFMARK_SECRETS": SECRET}
    ended = run(scratch, SHELFMARK, "serve", SHELFMARK_SPOOL_DIRECTORY="/nowhere", **given)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert ended.err.startswith("SHELFMARK_SPOOL_DIRECTORY (/nowhere) can't be written to: No such file or directory.")


def test_a_taken_port(scratch: Path) -> None:
    """It ends with 2 and a sentence, and takes no other port."""
    with taken() as port:
        given = {"DATABASE_URL": "postgresql://nowhere.invalid/name", "SHELFMARK_SECRETS": SECRET}
        ended = run(scratch, SHELFMARK, "serve", "--port", str(port), **given)
    assert ended.code == 2
    assert ended.err.strip() == f"Port {port} of 127.0.0.1 is taken. Name another one with --port or SHELFMARK_PORT."


async def test_a_database_that_folds_ascii_only(servers: Servers, scratch: Path) -> None:
    """It would give wrong answers: one sentence says so, before any process begins."""
    name = f"shelfmark_test_{uuid4().hex[:16]}"
    async with administering(servers) as admin:
        await admin.execute(text(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C'"))
        try:
            given = {"DATABASE_URL": servers.database(name), "SHELFMARK_SECRETS": SECRET, "WEB_CONCURRENCY": "2"}
            ended = run(scratch, SHELFMARK, "serve", "--port", str(unused_port()), **given)
        finally:
            await admin.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    assert ended.code == 2
    assert "SQL_ASCII" in ended.err
    assert "Traceback" not in ended.err


def settings(database_url: str, **more: str) -> dict[str, str]:
    """What a service needs, whose books anybody may read."""
    return {"DATABASE_URL": database_url, "SHELFMARK_SECRETS": SECRET, "SHELFMARK_PUBLIC_READ": "books", **more}


@contextmanager
def served(scratch: Path, database_url: str, **more: str) -> Iterator[tuple[Running, str]]:
    """A service that is ready, and where it is."""
    base = f"http://127.0.0.1:{(port := unused_port())}"
    with running(scratch, SHELFMARK, "serve", **settings(database_url, SHELFMARK_PORT=str(port), **more)) as serving:
        until(lambda: answers(f"{base}/readyz"), serving.said)
        yield serving, base


def test_two_processes(scratch: Path, database_url: str) -> None:
    """They answer, and end together within 10 s of a SIGTERM, even while a client stands still halfway through its request."""
    port = unused_port()
    base = f"http://127.0.0.1:{port}"
    given = settings(database_url, WEB_CONCURRENCY="2")
    limits = {"SHELFMARK_READ_TIMEOUT_MS": "500", "SHELFMARK_WRITE_TIMEOUT_MS": "500"}
    with running(scratch, SHELFMARK, "serve", "--port", str(port), **given, **limits) as serving:
        until(lambda: answers(f"{base}/readyz"), serving.said)
        assert len(members(serving.process.pid)) >= 3
        assert httpx.get(f"{base}/v1/books", params={"ratings_count": 7}).status_code == 400
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            serving.process.send_signal(Signals.SIGTERM)
            assert serving.ended(10) == 0
        until(lambda: not members(serving.process.pid))
        assert "Traceback" not in serving.said()


def test_one_process(scratch: Path) -> None:
    """A database that is away is no reason not to start; requests learn of it, and the log keeps the password."""
    port = unused_port()
    given = settings(f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name", SHELFMARK_PORT=str(port))
    with running(scratch, SHELFMARK, "serve", **given) as serving:
        until(lambda: answers(f"http://127.0.0.1:{port}/livez"), serving.said)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{port}/v1/books").status_code == 503
        assert serving.end(Signals.SIGTERM) == 0
        assert "the database can't be reached yet" in serving.said()
        assert "hunter2" not in serving.said()


@pytest.mark.parametrize("number", [Signals.SIGTERM, Signals.SIGINT])
def test_it_drains(number: Signals, scratch: Path, database_url: str) -> None:
    """After the signal `/readyz` says no, other requests are answered, each connection is closed; it ends with 0."""
    with served(scratch, database_url, SHELFMARK_DRAIN_SECONDS="2") as (serving, base):
        began = time.monotonic()
        serving.process.send_signal(number)
        until(lambda: httpx.get(f"{base}/readyz").status_code == 503)
        assert httpx.get(f"{base}/readyz").json()["problems"] == ["draining: the process is about to end"]
        answer = httpx.get(f"{base}/v1/books")
        assert (answer.status_code, answer.headers["connection"]) == (200, "close")
        assert answers(f"{base}/livez")
        assert serving.ended(10) == 0
        assert time.monotonic() - began > 2
        assert "Traceback" not in serving.said()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_second_signal_ends_it_at_once(processes: str, scratch: Path, database_url: str) -> None:
    """Whatever is in flight, and however long it would have drained."""
    with served(scratch, database_url, SHELFMARK_DRAIN_SECONDS="60", WEB_CONCURRENCY=processes) as (serving, base):
        serving.process.send_signal(Signals.SIGTERM)
        until(lambda: httpx.get(f"{base}/readyz").status_code == 503)
        began = time.monotonic()
        until(lambda: told_again(serving))
        assert serving.process.returncode in {-Signals.SIGTERM, 128 + Signals.SIGTERM}
        assert time.monotonic() - began < LATE_SECONDS
        until(lambda: not members(serving.process.pid))


def told_again(serving: Running) -> bool:
    """Tell a process to end, as one who has lost patience; whether it has ended."""
    serving.process.send_signal(Signals.SIGTERM)
    return serving.process.poll() is not None


@pytest.mark.parametrize("processes", ["1", "2"])
def test_a_signal_that_is_handed_on_is_one_signal(processes: str, scratch: Path, database_url: str) -> None:
    """As by `timeout`, which tells its command and then the whole group: it drains."""
    with served(scratch, database_url, SHELFMARK_DRAIN_SECONDS="1", WEB_CONCURRENCY=processes) as (serving, _base):
        began = time.monotonic()
        serving.process.send_signal(Signals.SIGTERM)
        serving.process.send_signal(Signals.SIGINT)  # two of one kind may become one in the kernel
        assert serving.ended(20) == 0
        assert time.monotonic() - began > 1


def test_a_signal_to_all_processes_is_one_signal(scratch: Path, database_url: str) -> None:
    """As from a terminal, or from systemd: what the first process hands on is no second signal."""
    with served(scratch, database_url, WEB_CONCURRENCY="2") as (serving, _base):
        os.killpg(serving.process.pid, Signals.SIGINT)
        assert serving.ended(10) == 0
        assert "Traceback" not in serving.said()


def test_a_dead_process_is_replaced(scratch: Path, database_url: str) -> None:
    """The others answer meanwhile."""
    with served(scratch, database_url, WEB_CONCURRENCY="2") as (serving, base):
        until(lambda: len(workers(serving.process.pid)) == 2)
        killed = min(workers(serving.process.pid))
        os.kill(killed, Signals.SIGKILL)
        until(lambda: len(workers(serving.process.pid) - {killed}) == 2, serving.said)
        until(lambda: answers(f"{base}/livez"), serving.said)
        assert serving.end(Signals.SIGTERM) == 0


def workers(parent: int) -> set[int]:
    """The web processes of a service: those that its first process has spawned."""
    found = set()
    for process_id in members(parent):
        with suppress(FileNotFoundError):
            if b"spawn_main" in Path(f"/proc/{process_id}/cmdline").read_bytes():
                found.add(process_id)
    return found


def test_the_log_keeps_what_clients_send_to_itself(scratch: Path, own_database: str) -> None:
    """Canaries in every part of requests, the log at its most talkative: not one of them sings."""
    base = f"http://127.0.0.1:{(port := unused_port())}"
    given = settings(own_database, SHELFMARK_PORT=str(port), SHELFMARK_ACCESS_LOG_EVERY="1", SHELFMARK_LOG_LEVEL="debug")
    with running(scratch, SHELFMARK, "serve", **given | {"SHELFMARK_SECRETS": KEYS_SECRET}) as serving:
        until(lambda: answers(f"{base}/readyz"), serving.said)
        headers = {**bearer(ADMIN), "Cookie": f"a={CANARY}", "User-Agent": CANARY, "X-Request-Id": CANARY}
        with httpx.Client(base_url=base, headers=headers) as client:
            calls = [
                client.get(f"/v1/books?title__icontains={CANARY}"),
                client.get(f"/v1/books?{CANARY}=1&ratings_count={CANARY}"),
                client.get(f"/v1/books/{CANARY}"),
                client.get(f"/{CANARY}"),
                client.get("/v1/books", headers=bearer(f"shelf_abcd1234_{CANARY}")),
                client.post("/v1/authors", json={"name": CANARY}, headers={"Idempotency-Key": CANARY}),
                client.post("/v1/authors", json={"name": CANARY.upper()}),
                client.post("/v1/authors", json={CANARY: CANARY}),
                client.post("/v1/authors", content=CANARY, headers={"Content-Type": "application/json"}),
                client.post("/v1/books", json={"title": CANARY, "author_id": 2**62}),
                client.get("/v1/books", params={"cursor": CANARY}),
                client.get("/v1/books", headers={"Host": f"{CANARY}.example"}),
            ]
            with socket.create_connection(("127.0.0.1", port)) as raw:
                raw.sendall(CANARY.encode() + b"\r\n\r\n")
                assert b"400" in raw.recv(100)
            for author in client.get("/v1/authors", params={"name__iexact": CANARY}).json()["data"]:
                client.delete(f"/v1/authors/{author['id']}")
        found = [answer.status_code for answer in calls]
        assert found == [200, 422, 422, 404, 401, 201, 409, 422, 400, 422, 422, 421]
        said = serving.said()
        assert said.count('"event": "request"') >= len(calls)
        assert CANARY.lower() not in said.lower()
        assert ADMIN not in said
        assert ADMIN.rpartition("_")[2] not in said
