"""`shelfmark up`: from nothing to requests that work, and to nothing again, with the data kept."""

import shlex
import stat
from pathlib import Path
from signal import Signals

import httpx

from service import local
from service.local import redis
from tests.fixtures.processes import (
    SHELFMARK,
    Running,
    answers,
    kill,
    members,
    run,
    running,
    taken,
    until,
    unused_port,
)
from tests.local.looking import process

READY = "Ctrl-C ends it."
NO_SAMPLE = ("--books", "0")
AUTHOR = {"name": "Ōe Kenzaburō"}


def base_of(up: Running) -> str:
    """Where it serves, once it does."""
    said = up.until_said(READY)
    return next(line for line in said.splitlines() if line.startswith("Shelfmark serves on")).split()[-1]


def tries(said: str) -> list[str]:
    """The URLs of the curl lines, read as a shell reads them."""
    lines = [shlex.split(line, comments=True) for line in said.splitlines() if line.startswith("  curl")]
    assert all(line[:4] == ["curl", "-s", "-H", "@.shelfmark/authorization"] and len(line) == 5 for line in lines)
    return [line[4] for line in lines]


def header(scratch: Path) -> dict[str, str]:
    """The header that the curl lines send."""
    file = scratch / ".shelfmark" / "authorization"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    name, _, value = file.read_text().strip().partition(": ")
    return {name: value}


def worker_of(up: Running) -> int:
    """The process that runs its jobs."""
    (found,) = [process for process in members(up.process.pid) if b"\0worker\0" in Path(f"/proc/{process}/cmdline").read_bytes()]
    return found


def servers_run(scratch: Path) -> bool:
    """Whether its PostgreSQL and its Redis run."""
    return local.attach(scratch / ".shelfmark") is not None


def test_a_life(scratch: Path) -> None:
    """What it prints works; other commands find its servers; a signal ends all of it, and the data are there the next time."""
    port = str(unused_port())
    with running(
        scratch, SHELFMARK, "up", "--port", port, "--books", "200", DATABASE_URL="postgresql://elsewhere.invalid/name"
    ) as up:
        assert base_of(up) == f"http://127.0.0.1:{port}"
        said = up.said()
        assert "DATABASE_URL is set, and not used" in said
        assert "PostgreSQL and Redis started in .shelfmark/" in said
        docs = next(line for line in said.splitlines() if "documented at" in line).split()[-1]
        assert httpx.get(docs).headers["content-type"].startswith("text/html")
        found = [httpx.get(url, headers=header(scratch)) for url in tries(said)]
        assert [answer.status_code for answer in found] == [200, 200, 400]
        assert all(answer.json()["data"] for answer in found[:2])
        assert found[2].json()["type"].endswith("/not-served")
        assert httpx.get(tries(said)[0]).status_code == 401
        key = header(scratch)
        assert httpx.post(f"{base_of(up)}/v1/authors", json=AUTHOR, headers=key).status_code == 201
        until(lambda: "shelfmark_job_slots 3.0" in httpx.get(f"{base_of(up)}/metrics", headers=key).text, up.said)
        kill(worker_of(up))
        assert "The worker has died (signal 9). Another one begins in" in up.until_said("The worker has died")
        kill(process(scratch / ".shelfmark", redis))
        assert "Redis has died, and is begun anew. Its log is in .shelfmark/." in up.until_said("Redis has died")
        until(lambda: servers_run(scratch), up.said)
        doctor = run(scratch, SHELFMARK, "doctor")
        assert (doctor.code, "bad" in doctor.out) == (0, False), doctor.out
        assert up.end(Signals.SIGTERM) == 128 + Signals.SIGTERM
        assert not members(up.process.pid)
        assert not servers_run(scratch)
        assert "Traceback" not in up.said()
    with running(scratch, SHELFMARK, "up", "--port", port) as up:
        assert header(scratch) == key
        found_again = httpx.get(f"{base_of(up)}/v1/authors", params={"name__iexact": AUTHOR["name"]}, headers=key).json()
        assert [author["name"] for author in found_again["data"]] == [AUTHOR["name"]]
        assert up.end(Signals.SIGINT) in {0, 130}
        assert not servers_run(scratch)
        assert "Traceback" not in up.said()


def test_two_at_a_time(scratch: Path) -> None:
    """The second finds the servers, takes the next port, and keeps them when the first one ends."""
    with taken() as port, running(scratch, SHELFMARK, "up", "--port", str(port), *NO_SAMPLE) as first:
        assert base_of(first) != f"http://127.0.0.1:{port}"
        with running(scratch, SHELFMARK, "up", "--port", str(port), *NO_SAMPLE) as second:
            assert base_of(second) not in {base_of(first), f"http://127.0.0.1:{port}"}
            assert "PostgreSQL and Redis were running already in .shelfmark/" in second.said()
            key = header(scratch)
            assert httpx.post(f"{base_of(first)}/v1/authors", json=AUTHOR, headers=key).status_code == 201
            assert first.end(Signals.SIGTERM) == 128 + Signals.SIGTERM
            named = {"name__iexact": AUTHOR["name"]}
            assert httpx.get(f"{base_of(second)}/v1/authors", params=named, headers=key).json()["data"]
            assert servers_run(scratch)
            second.end(Signals.SIGTERM)
            assert not servers_run(scratch)


def test_killed(scratch: Path) -> None:
    """Its servers outlive it; the next one finds them and stops them, here because its terminal was closed."""
    with running(scratch, SHELFMARK, "up", "--port", str(unused_port()), *NO_SAMPLE) as up:
        base_of(up)
        assert up.end(Signals.SIGKILL) == -Signals.SIGKILL
        assert servers_run(scratch)
    with running(scratch, SHELFMARK, "up", "--port", str(unused_port()), *NO_SAMPLE) as up:
        base = base_of(up)
        until(lambda: answers(f"{base}/readyz"), up.said)
        assert "were running already" in up.said()
        assert up.end(Signals.SIGHUP) == 128 + Signals.SIGTERM
        assert not servers_run(scratch)
        assert "Traceback" not in up.said()


def test_impossible_options(scratch: Path) -> None:
    """They are refused before anything is made."""
    for option, value in (("--port", "0"), ("--port", "99999"), ("--books", "-1")):
        ended = run(scratch, SHELFMARK, "up", option, value)
        assert ended.code == 2
        assert option in ended.err
    ended = run(scratch, SHELFMARK, "up", SHELFMARK_PORT="0")
    assert ended.code == 2
    assert "SHELFMARK_PORT: " in ended.err
    assert list(scratch.iterdir()) == []


def test_an_unknown_host(scratch: Path) -> None:
    """A sentence, before anything is made."""
    ended = run(scratch, SHELFMARK, "up", SHELFMARK_HOST="no-such-host.invalid")
    assert ended.code == 2
    assert ended.err.startswith("no-such-host.invalid is no address of this machine")
    assert list(scratch.iterdir()) == []


def test_interrupted_while_it_starts(scratch: Path) -> None:
    """A signal that comes early leaves no servers behind either."""
    with running(scratch, SHELFMARK, "up", "--port", str(unused_port()), *NO_SAMPLE) as up:
        until((scratch / ".shelfmark/data/postgres/postmaster.pid").exists, up.said)
        up.process.send_signal(Signals.SIGTERM)
        assert up.ended() == 128 + Signals.SIGTERM
        assert not servers_run(scratch)
        assert not (scratch / ".shelfmark/data/postgres/postmaster.pid").exists()
