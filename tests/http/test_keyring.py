"""What the database is asked of keys, how often, and how long its answer holds."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncConnection
from structlog.testing import capture_logs

from service.db import Database, keys
from service.db.bound import Bound
from service.db.keys import Listed
from service.errors import Overloaded, Problem, Unauthorized, Unavailable
from service.http import keyring as module
from service.http.callers import Caller
from service.http.keyring import LIFE_SECONDS, TOGETHER_MOST, Keyring, Known
from service.http.tokens import Signatures, new
from service.settings import Settings
from tests.fixtures.databases import administering, new_database, template
from tests.fixtures.keys import SECRET, SIGNATURES, forged, granted
from tests.fixtures.servers import Servers
from tests.waiting import LATE_SECONDS

SECOND = datetime.timedelta(seconds=1)
BOUND_SECONDS = 20.0


def header(token: str) -> bytes:
    """What a client sends."""
    return b"Bearer " + token.encode()


@dataclass
class Asked:
    """The statements that asked for keys, each with the prefixes it asked for."""

    found: list[set[str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.found)


def listening(database: Database, asked: Asked) -> Iterator[None]:
    """Note the statements that ask for keys."""
    pools = {id(leases.engine): leases.engine.sync_engine for leases in database.pools()}.values()

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "shelfmark_keys" in statement and statement.startswith("SELECT") and "ANY" in statement.upper():
            asked.found.append(set(parameters[0]))

    for engine in pools:
        event.listen(engine, "before_cursor_execute", note)
    yield
    for engine in pools:
        event.remove(engine, "before_cursor_execute", note)


@pytest.fixture
def asked(committed: Database) -> Iterator[Asked]:
    """What was asked of the committing database."""
    found = Asked()
    yield from ((found) for _ in listening(committed, found))


@pytest.fixture
def ring(committed: Database) -> Keyring:
    """The keys of one process."""
    return Keyring(committed, SIGNATURES)


async def is_good(ring: Keyring, token: str) -> bool:
    """Whether a key is let in, looked at as the layer looks."""
    known = ring.known.get(header(token))
    if known is not None and known.until > monotonic():
        known.used = monotonic()
        return True
    try:
        await ring.find(header(token))
    except Unauthorized:
        return False
    return True


async def test_a_key_is_asked_for_once_a_second(ring: Keyring, committed: Database, asked: Asked) -> None:
    token = await granted(committed, "books:read", within={"member_id": "7"})
    known = await ring.find(header(token))
    assert known.caller == Caller(token[6:14], frozenset({"books:read"}), {"member_id": "7"})
    assert all([await is_good(ring, token) for _ in range(1000)])
    assert len(asked) == 1


async def test_a_key_in_use_never_waits(ring: Keyring, committed: Database, asked: Asked) -> None:
    """It is confirmed ahead of time: what the layer looks at is always fresh."""
    token = await granted(committed, "books:read")
    async with ring.kept():
        known = await ring.find(header(token))
        until = monotonic() + 2.5 * LIFE_SECONDS
        while monotonic() < until:
            assert known.until > monotonic()
            known.used = monotonic()
            await asyncio.sleep(0.01)
    assert 3 <= len(asked) <= 7


async def test_a_key_that_is_not_in_use_is_not_confirmed(
    ring: Keyring, committed: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HOT_SECONDS", 0.2)
    token = await granted(committed, "books:read")
    async with ring.kept():
        known = await ring.find(header(token))
        await _until(lambda: known.until < monotonic())
    assert len(asked) <= 2


async def test_all_keys_are_confirmed_by_one_statement(ring: Keyring, committed: Database, asked: Asked) -> None:
    tokens = [await granted(committed, "books:read") for _ in range(20)]
    for token in tokens:
        assert await is_good(ring, token)
    asked.found.clear()
    async with ring.kept():
        await _until(lambda: len(asked) > 0)
    assert asked.found[0] == {token[6:14] for token in tokens}


async def test_keys_that_come_together_are_asked_for_together(ring: Keyring, committed: Database, asked: Asked) -> None:
    tokens = [await granted(committed, "books:read") for _ in range(50)]
    assert all(await asyncio.gather(*(is_good(ring, token) for token in tokens for _ in range(3))))
    assert len(asked) <= 2


@pytest.mark.parametrize("ahead", [False, True], ids=["on demand", "confirmed ahead"])
async def test_a_revoked_key_stops_within_a_second(ring: Keyring, committed: Database, ahead: bool) -> None:
    token = await granted(committed, "books:read")
    work = asyncio.ensure_future(_kept_for(ring, 2 * BOUND_SECONDS)) if ahead else None
    known = await ring.find(header(token))
    async with committed.writing() as unit:
        assert await keys.revoke(unit.session, token[6:14])
    revoked = monotonic()
    await _until_bad(ring, token)
    assert known.until <= revoked + LIFE_SECONDS
    if work:
        work.cancel()
        await asyncio.wait([work])


async def test_a_key_that_is_known_is_held_against_what_is_kept_now(ring: Keyring, committed: Database) -> None:
    """Another signature under its prefix: it is a stranger's."""
    token = await granted(committed, "books:read")
    known = await ring.find(header(token))
    async with committed.writing() as unit:
        other = SIGNATURES.sign(new().encode()).signature
        changed = text("UPDATE shelfmark_keys SET signature = :other WHERE prefix = :prefix")
        await unit.session.execute(changed, {"other": other, "prefix": token[6:14]})
    known.until = 0.0
    assert not await is_good(ring, token)


async def test_an_expired_key_stops_to_the_moment(ring: Keyring, committed: Database) -> None:
    """Also where it was confirmed a moment before."""
    lasting, began = 0.9, monotonic()
    token = await granted(committed, "books:read", lasting=lasting * SECOND)
    made = monotonic()
    known = await ring.find(header(token))
    asking = monotonic() - made
    assert began + lasting - asking <= known.until <= made + lasting
    await _until_bad(ring, token)


async def test_a_key_may_do_what_the_database_says_now(ring: Keyring, committed: Database) -> None:
    token = await granted(committed, "books:read")
    known = await ring.find(header(token))
    async with committed.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_keys SET scopes = '{books:write}' WHERE name = 'a test''s'"))
    await _until(lambda: known.until < monotonic())
    assert (await ring.find(header(token))).caller.scopes == {"books:write"}
    assert known.caller.scopes == {"books:write"}


async def test_what_everybody_may_do_a_key_may_do(committed: Database) -> None:
    token = await granted(committed, "loans:read")
    known = await Keyring(committed, SIGNATURES, frozenset({"books:read"})).find(header(token))
    assert known.caller.scopes == {"loans:read", "books:read"}
    assert known.caller.public == {"books:read"}


async def test_a_wrong_key_is_asked_for_once_a_second(ring: Keyring, asked: Asked) -> None:
    token = new()
    assert not any([await is_good(ring, token) for _ in range(1000)])
    assert len(asked) == 1


async def test_a_wrong_secret_costs_what_an_unknown_prefix_costs(ring: Keyring, committed: Database, asked: Asked) -> None:
    """One statement each, whether or not the prefix is known, and in use."""
    token = await granted(committed, "books:read")
    assert await is_good(ring, token)
    asked.found.clear()
    for wrong in (forged(token), new()):
        assert not await is_good(ring, wrong)
    assert len(asked) == 2


async def test_a_slip_is_asked_of_nobody(ring: Keyring, asked: Asked) -> None:
    token = new()
    for wrong in (token[:-1], token + "x", token.upper(), "", "shelf_", token.replace("shelf", "shelv")):
        assert not await is_good(ring, wrong)
    assert len(asked) == 0


async def test_a_flood_of_wrong_keys_is_no_flood_of_statements(
    ring: Keyring, committed: Database, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few statements, each of a bounded size; those who come too many are told so; who was known is let in all the while."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", BOUND_SECONDS)  # the test is of statements, not of a machine's haste
    token, wrong = await granted(committed, "books:read"), [header(new()) for _ in range(2000)]
    known, told = await ring.find(header(token)), list[object]()
    asked.found.clear()
    for wave in range(4):
        flood = asyncio.gather(*(ring.find(one) for one in wrong[wave::4]), return_exceptions=True)
        await asyncio.sleep(0)
        known.until = 0.0  # its second is up, and the next statement is full
        assert await is_good(ring, token)
        told += await flood
    assert {type(one) for one in told} == {Unauthorized, Overloaded}
    assert sum(type(one) is Unauthorized for one in told) == len(asked) * TOGETHER_MOST == 4 * TOGETHER_MOST
    assert max(map(len, asked.found)) == TOGETHER_MOST + 1


async def test_statements_for_wrong_keys_keep_their_distance(ring: Keyring, asked: Asked) -> None:
    began = monotonic()
    for _ in range(30):
        assert not await is_good(ring, new())
    assert monotonic() - began >= 29 * module.PAUSE_SECONDS
    assert len(asked) == 30


async def test_what_is_remembered_is_bounded(ring: Keyring, committed: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REFUSED_MOST", 50)
    monkeypatch.setattr(module, "KNOWN_MOST", 3)
    await asyncio.gather(*(is_good(ring, new()) for _ in range(150)))
    tokens = [await granted(committed, "books:read") for _ in range(5)]
    assert all([await is_good(ring, token) for token in tokens])
    assert len(ring._refused) == 50  # noqa: SLF001
    assert list(ring.known) == [header(token) for token in tokens[-3:]]


async def test_who_leaves_takes_nobody_along(ring: Keyring, committed: Database, asked: Asked) -> None:
    token = await granted(committed, "books:read")
    first, second = (asyncio.ensure_future(is_good(ring, token)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert await second
    assert len(asked) == 1


async def test_the_scheme_may_be_written_in_any_case(ring: Keyring, committed: Database, asked: Asked) -> None:
    token = await granted(committed, "books:read")
    for scheme in ("Bearer", "bearer", "BEARER "):
        assert (await ring.find(f"{scheme} {token}".encode())).caller.key == token[6:14]
    assert len(asked) == 1
    for wrong in (f"Basic {token}", token, f"Bearer{token}", f"Bearer {token} x", "Bearer"):
        with pytest.raises(Unauthorized):
            await ring.find(wrong.encode())


async def test_the_last_use_is_told_soon_and_not_on_the_way(ring: Keyring, committed: Database) -> None:
    token = await granted(committed, "books:read")
    async with ring.kept():
        await ring.find(header(token))
        assert (await _listed(committed, token)).last_used_at is None
        await _until_told(committed, token)


async def test_what_wasnt_told_is_told_at_the_end(ring: Keyring, committed: Database) -> None:
    token = await granted(committed, "books:read")
    async with ring.kept():
        await ring.find(header(token))
    assert (await _listed(committed, token)).last_used_at


async def test_a_key_that_an_older_secret_signed_is_signed_anew(committed: Database) -> None:
    """So the older secret can go, once every key was used."""
    token = await granted(committed, "books:read")
    newer = Signatures([b"n" * 32, SECRET.encode()])
    async with Keyring(committed, newer).kept():
        pass
    ring = Keyring(committed, newer)
    async with ring.kept():
        await ring.find(header(token))
        await _until_told(committed, token)
    assert (await _listed(committed, token)).signed_by == newer.newest
    assert await is_good(Keyring(committed, Signatures([b"n" * 32])), token)
    assert await is_good(ring, token)


async def test_a_key_whose_secret_is_gone_is_refused_and_told_of_once(committed: Database) -> None:
    """Whoever took the secret away hears why everybody is refused."""
    token = await granted(committed, "books:read")
    ring = Keyring(committed, Signatures([b"n" * 32]))
    with capture_logs() as logs:
        assert not await is_good(ring, token)
        ring._refused.clear()  # noqa: SLF001 - as after a second
        assert not await is_good(ring, token)
    assert [(line["log_level"], line["key"]) for line in logs] == [("warning", token[6:14])]
    assert "SHELFMARK_SECRETS" in logs[0]["event"]
    assert token[15:] not in repr(logs)


@dataclass
class Fragile:
    """A database of its own that can be taken away, and be given back."""

    name: str
    admin: AsyncConnection
    database: Database

    async def leave(self) -> None:
        """Let nobody in, and end every connection."""
        await self.admin.execute(text(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS false"))
        await self.interrupt()

    async def interrupt(self) -> None:
        """End every connection."""
        ended = text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name")
        await self.admin.execute(ended, {"name": self.name})

    async def come_back(self) -> None:
        """Let everybody in."""
        await self.admin.execute(text(f"ALTER DATABASE {self.name} ALLOW_CONNECTIONS true"))


@pytest.fixture
async def fragile(servers: Servers, settings: Settings) -> AsyncIterator[Fragile]:
    """A database that can be taken away."""
    async with new_database(servers, await template(servers)) as url, administering(servers) as admin:
        database = Database.connect(url, settings)
        yield Fragile(url.rpartition("/")[2].partition("?")[0], admin, database)
        await database.close()


async def test_a_lost_connection_is_nobodys_matter(fragile: Fragile) -> None:
    ring, token = Keyring(fragile.database, SIGNATURES), await granted(fragile.database, "books:read")
    known = await ring.find(header(token))
    await fragile.interrupt()
    await _until(lambda: known.until < monotonic())
    assert await is_good(ring, token)


async def test_a_connection_that_is_lost_while_it_is_asked_is_nobodys_matter(
    fragile: Fragile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same is asked again, on another one."""
    monkeypatch.setattr(module, "PATIENCE_SECONDS", BOUND_SECONDS)
    ring, token = Keyring(fragile.database, SIGNATURES), await granted(fragile.database, "books:read")
    asking = "FROM pg_stat_activity WHERE datname = :name AND wait_event_type = 'Lock' AND query LIKE '%shelfmark_keys%'"
    async with fragile.database.writing() as unit:
        await unit.session.execute(text("LOCK TABLE shelfmark_keys IN ACCESS EXCLUSIVE MODE"))
        found = asyncio.ensure_future(ring.find(header(token)))
        deadline = monotonic() + BOUND_SECONDS
        ended = text(f"SELECT pg_terminate_backend(pid, 5000) {asking}")
        while not (await fragile.admin.execute(ended, {"name": fragile.name})).all():
            assert monotonic() < deadline, "nobody asks"
    assert (await found).caller.key == token[6:14]


async def test_while_the_database_is_away_a_key_is_good_for_a_second(fragile: Fragile) -> None:
    """Then it is neither good nor bad: 503, within the time of a refusal. When the database is back, so is the key."""
    ring, token = Keyring(fragile.database, SIGNATURES), await granted(fragile.database, "books:read")
    async with ring.kept():
        known = await ring.find(header(token))
        await fragile.leave()
        left = monotonic()
        await _until(lambda: known.until < monotonic())
        assert known.until <= left + LIFE_SECONDS
        for _ in range(20):
            began = monotonic()
            with pytest.raises(Unavailable):
                await ring.find(header(token))
            assert monotonic() - began < module.PATIENCE_SECONDS + LATE_SECONDS
        await fragile.come_back()
        began = monotonic()
        while not await _answers(ring, token):
            assert monotonic() - began < BOUND_SECONDS


async def test_a_transaction_of_a_test_is_seen(database: Bound) -> None:
    """What a test writes without committing, routes see; keys too."""
    token = await granted(database, "books:read")
    assert await is_good(Keyring(database, SIGNATURES), token)


async def _answers(ring: Keyring, token: str) -> bool:
    try:
        return await is_good(ring, token)
    except Problem:
        return False


async def _kept_for(ring: Keyring, seconds: float) -> None:
    async with ring.kept():
        await asyncio.sleep(seconds)


async def _until_bad(ring: Keyring, token: str) -> None:
    deadline = monotonic() + BOUND_SECONDS
    while await is_good(ring, token):
        assert monotonic() < deadline, "the key is still good"
        await asyncio.sleep(0.005)


async def _until(condition: Any) -> None:
    deadline = monotonic() + BOUND_SECONDS
    while not condition():
        assert monotonic() < deadline
        await asyncio.sleep(0.01)


async def _listed(database: Database, token: str) -> Listed:
    async with database.reading() as session:
        found = await keys.find(session, token[6:14])
    assert found
    return found


async def _until_told(database: Database, token: str) -> None:
    deadline = monotonic() + BOUND_SECONDS
    while (await _listed(database, token)).last_used_at is None:
        assert monotonic() < deadline
        await asyncio.sleep(0.02)


def test_a_key_is_not_shown_where_it_is_printed() -> None:
    """In a trace or a log."""
    known = Known(b"shelf_canary", SIGNATURES.sign(b"x"), Caller("aaaaaaaa"), 0.0, 0.0)
    assert "canary" not in repr(known)
