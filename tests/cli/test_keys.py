"""`shelfmark keys`: what it prints, what it refuses, and that the service goes by it."""

import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from signal import Signals
from threading import Event

import httpx
import pytest

from service.http.tokens import prefix_of
from tests.fixtures.databases import new_database, template
from tests.fixtures.processes import SECRET, SHELFMARK, Ended, answers, run, running, until, unused_port
from tests.fixtures.servers import Servers

LATER = "fedcba9876543210" * 2
Keys = Callable[..., Ended]


@pytest.fixture
async def url(servers: Servers) -> AsyncIterator[str]:
    """A migrated database without keys."""
    async with new_database(servers, await template(servers)) as made:
        yield made


@pytest.fixture
def keys(shelfmark: Keys, url: str) -> Keys:
    """The command, over that database."""

    def command(*words: str, secrets: str = SECRET) -> Ended:
        return shelfmark("keys", *words, DATABASE_URL=url, SHELFMARK_SECRETS=secrets)

    return command


def listed(keys: Keys, secrets: str = SECRET) -> dict[str, list[str]]:
    """What is listed for programs: prefix -> name, scopes, rows, use, state, time."""
    lines = [line.split("\t") for line in keys("list", secrets=secrets).out.splitlines()]
    return {cells[0]: cells[1:] for cells in lines}


def test_as_a_command(scratch: Path, url: str) -> None:
    """What a shell gets into a variable is the key, and nothing but it."""
    given = {"DATABASE_URL": url, "SHELFMARK_SECRETS": SECRET}
    ended = run(scratch, SHELFMARK, "keys", "create", "a", "--scope", "admin", **given)
    assert (ended.code, prefix_of(ended.out.removesuffix("\n").encode())) == (0, ended.out[6:14])
    assert "Traceback" not in ended.err


def test_made_and_listed(keys: Keys) -> None:
    """The key alone on standard output; everything but it afterwards."""
    scopes = ["--scope", "books:read", "--scope", "*:write"]
    made = keys("create", "front desk", *scopes, "--expires", "90d", "--within", "member_id=7")
    token = made.out.strip()
    prefix = prefix_of(token.encode())
    assert prefix
    assert token not in made.err
    for said in ("front desk", "books:read, *:write", "member_id=7", "the only time", "rows of books can't be told by member_id"):
        assert said in made.err
    found = listed(keys)
    assert list(found) == [prefix]
    assert found[prefix][:4] == ["front desk", "books:read, *:write", "member_id=7", "never"]
    assert found[prefix][4].startswith("good, ends 2")
    assert token[15:] not in keys("list").out


def test_replaced_and_revoked(keys: Keys) -> None:
    """By prefix, or by the key itself; only what can be used, and once."""
    first = keys("create", "a", "--scope", "books:read").out.strip()
    second = keys("rotate", first[6:14], "--overlap", "1h")
    assert f"The key {first[6:14]} goes on until 2" in second.err
    third = keys("rotate", second.out.strip(), "--overlap", "0")
    assert f"The key {second.out[6:14]} can't be used any more." in third.err
    assert keys("revoke", f"shelf_{third.out[6:14]}").code == 0
    states = {prefix: cells[4] for prefix, cells in listed(keys).items()}
    assert list(states) == [first[6:14], second.out[6:14], third.out[6:14]]
    assert states[first[6:14]].startswith(f"replaced by {second.out[6:14]}, ends 2")
    assert states[second.out[6:14]].startswith("expired 2")
    assert states[third.out[6:14]].startswith("revoked 2")
    for words, sentence in (
        (("rotate", first[6:14]), f"was replaced by {second.out[6:14]} already. Rotate that one."),
        (("rotate", second.out[6:14]), "has expired already."),
        (("rotate", third.out[6:14]), "was revoked already."),
        (("revoke", third.out[6:14]), "was revoked already."),
        (("revoke", "unknown1"), "There is no key unknown1."),
        (("revoke", "no prefix"), "no prefix is no prefix of a key."),
    ):
        ended = keys(*words)
        assert (ended.code, ended.out) == (2, "")
        assert sentence in ended.err


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("a",), "Name what the key may do, by --scope."),
        (("a", "--scope", "boks:read"), "boks:read is no scope. There are admin, metrics, and TABLE:read and TABLE:write"),
        (("a", "--scope", "books"), "books is no scope."),
        (("", "--scope", "admin"), "A key's name has 1 to 100 printable characters"),
        (("a\tb", "--scope", "admin"), "printable"),
        (("x" * 101, "--scope", "admin"), "1 to 100"),
        (("a", "--scope", "admin", "--expires", "soon"), "--expires soon: write a number and a unit, as 90d"),
        (("a", "--scope", "admin", "--expires", "-1d"), "--expires -1d: write a number"),
        (("a", "--scope", "admin", "--within", "member_id"), "write NAME=VALUE"),
        (("a", "--scope", "admin", "--within", "colour=red"), "There are member_id."),
        (("a", "--scope", "admin", "--within", "member_id=seven"), "--within member_id=seven: expected an integer"),
    ],
)
def test_refused(keys: Keys, words: tuple[str, ...], sentence: str) -> None:
    """With a sentence, before anything is kept."""
    ended = keys("create", *words)
    assert (ended.code, ended.out) == (2, "")
    assert sentence in ended.err
    assert listed(keys) == {}


def test_before_the_first_migration(scratch: Path, empty_database: str) -> None:
    ended = run(scratch, SHELFMARK, "keys", "list", DATABASE_URL=empty_database, SHELFMARK_SECRETS=SECRET)
    assert ended.code == 2
    assert ended.err.startswith("The database has no table for keys yet. Run `shelfmark migrate` first.")


def test_a_database_that_is_away(scratch: Path) -> None:
    away = f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/name"
    ended = run(scratch, SHELFMARK, "keys", "list", DATABASE_URL=away, SHELFMARK_SECRETS=SECRET)
    assert ended.code == 2
    assert ended.err.startswith("PostgreSQL at 127.0.0.1:")
    assert "can't be reached" in ended.err
    assert "DATABASE_URL" in ended.err
    assert "hunter2" not in ended.err


def test_secrets_that_change(keys: Keys) -> None:
    """What an older secret signed is told; what nobody can check is told too, and what looks like a slip."""
    prefix = keys("create", "a", "--scope", "admin").out[6:14]
    assert listed(keys, f"{LATER},{SECRET}")[prefix][4] == "good, signed by an older secret"
    assert listed(keys, LATER)[prefix][4] == "unusable, its secret is gone"
    assert "Is SHELFMARK_SECRETS here what the service has?" in keys("create", "b", "--scope", "admin", secrets=LATER).err
    assert "Is SHELFMARK_SECRETS here" not in keys("create", "c", "--scope", "admin").err


def test_a_revoked_key_stops_in_every_process_within_a_second(keys: Keys, url: str, scratch: Path) -> None:
    """Of two that both know it: no request that begins a second after the revocation is let in."""
    token = keys("create", "a", "--scope", "books:read").out.strip()
    base = f"http://127.0.0.1:{(port := unused_port())}"
    given = {"DATABASE_URL": url, "SHELFMARK_SECRETS": SECRET, "SHELFMARK_PORT": str(port), "WEB_CONCURRENCY": "2"}
    with running(scratch, SHELFMARK, "serve", **given) as serving:
        until(lambda: answers(f"{base}/readyz"), serving.said)
        stop, told = Event(), list[tuple[float, int]]()
        with ThreadPoolExecutor(4) as clients:
            asking = [clients.submit(ask, f"{base}/v1/books?limit=1", token, told, stop) for _ in range(4)]
            until(lambda: len(told) > 100 and told[-1][0] - told[0][0] > 1.5)  # both know it, and have confirmed it ahead of time
            assert keys("revoke", token[6:14]).code == 0
            revoked = time.monotonic()
            until(lambda: told[-1][0] - revoked > 1.5)
            stop.set()
            for one in asking:
                one.result()
        assert {status for _, status in told} == {200, 401}
        assert max(began for began, status in told if status == 200) - revoked < 1
        assert min(began for began, status in told if status == 401) - revoked < 1
        assert serving.end(Signals.SIGTERM) == 0
        assert token[15:] not in serving.said()


def ask(url: str, token: str, told: list[tuple[float, int]], stop: Event) -> None:
    """Ask again and again, each time over a connection of its own; note when each request began, and its status."""
    while not stop.is_set():
        began = time.monotonic()
        told.append((began, httpx.get(url, headers={"Authorization": f"Bearer {token}"}).status_code))
