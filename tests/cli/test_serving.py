"""`shelfmark serve`: what it refuses, and how its processes come and go."""

import socket
from pathlib import Path
from signal import Signals
from uuid import uuid4

import httpx
from sqlalchemy import text

from tests.cli.processes import SECRET, SHELFMARK, answers, members, run, running, taken, until, unused_port
from tests.fixtures.databases import administering
from tests.fixtures.servers import Servers


def test_without_secrets(scratch: Path) -> None:
    """It ends with 2, names the variable and says how to make one."""
    ended = run(scratch, SHELFMARK, "serve", DATABASE_URL="postgresql://nowhere.invalid/name")
    assert ended.code == 2
    assert ended.err.startswith("SHELFMARK_SECRETS is not set")
    assert "openssl rand -hex 32" in ended.err


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


def test_two_processes(scratch: Path, database_url: str) -> None:
    """They answer, and end together within 10 s of a SIGTERM, even while a client stands still halfway through its request."""
    port = unused_port()
    base = f"http://127.0.0.1:{port}"
    given = {"DATABASE_URL": database_url, "SHELFMARK_SECRETS": SECRET, "WEB_CONCURRENCY": "2"}
    limits = {"SHELFMARK_READ_TIMEOUT_MS": "500", "SHELFMARK_WRITE_TIMEOUT_MS": "500"}
    with running(scratch, SHELFMARK, "serve", "--port", str(port), **given, **limits) as serving:
        until(lambda: answers(f"{base}/livez"), serving.said)
        assert len(members(serving.process.pid)) >= 3
        assert httpx.get(f"{base}/readyz").json()["status"] == "ready"
        assert httpx.get(f"{base}/v1/books", params={"ratings_count": 7}).status_code == 400
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/books HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
            serving.process.send_signal(Signals.SIGTERM)
            assert serving.process.wait(10) == 0
        until(lambda: not members(serving.process.pid))
        assert "Traceback" not in serving.said()


def test_one_process(scratch: Path) -> None:
    """A database that is away is no reason not to start; requests learn of it, and the log keeps the password."""
    port = unused_port()
    given = {"DATABASE_URL": f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name", "SHELFMARK_SECRETS": SECRET}
    with running(scratch, SHELFMARK, "serve", **given, SHELFMARK_PORT=str(port)) as serving:
        until(lambda: answers(f"http://127.0.0.1:{port}/livez"), serving.said)
        assert httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{port}/v1/books").status_code == 503
        assert serving.end(Signals.SIGTERM) == -Signals.SIGTERM
        assert "the database can't be reached yet" in serving.said()
        assert "hunter2" not in serving.said()
