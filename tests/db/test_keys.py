"""Keys in the database: which can be used, by the database's clock, and what becomes of those that are replaced or revoked."""

import datetime

import pytest
from sqlalchemy import text, update

from service.db import Database, keys
from service.db.bound import Bound
from service.db.keys import KEYS, Granted, Listed, Living, Signed
from tests.fixtures.keys import ADMIN

DAY = datetime.timedelta(days=1)
SECOND = datetime.timedelta(seconds=1)
DESK = Granted("the desk's", ("books:read", "loans:write"), {"member_id": "7"})


def signed(prefix: str) -> Signed:
    """What is kept of a key with this prefix."""
    return Signed(prefix, prefix.encode() * 4, "secret")


async def added(database: Database, prefix: str, lasting: datetime.timedelta | None = None) -> None:
    """Keep a key."""
    async with database.writing() as unit:
        await keys.add(unit.session, signed(prefix), DESK, lasting)


async def living(database: Database, *prefixes: str) -> dict[str, Living]:
    """Those that can be used."""
    async with database.reading() as session:
        return await keys.living(session, prefixes)


async def found(database: Database, prefix: str) -> Listed:
    """One key."""
    async with database.reading() as session:
        key = await keys.find(session, prefix)
    assert key
    return key


async def aged(database: Database, prefix: str, age: datetime.timedelta) -> None:
    """Let a key have been made, and expire, so much earlier."""
    async with database.writing() as unit:
        earlier = {"created_at": KEYS.c.created_at - age, "expires_at": KEYS.c.expires_at - age}
        await unit.session.execute(update(KEYS).where(KEYS.c.prefix == prefix).values(earlier))


async def test_a_key_comes_back_as_it_was_kept(database: Bound) -> None:
    await added(database, "aaaaaaaa")
    (key,) = (await living(database, "aaaaaaaa", "unknown1")).values()
    assert key == Living(signed("aaaaaaaa"), DESK.scopes, DESK.within, None)
    assert (await found(database, "aaaaaaaa")).alive


async def test_a_key_ends_when_its_time_is_up(database: Bound) -> None:
    await added(database, "aaaaaaaa", DAY)
    left = (await living(database, "aaaaaaaa"))["aaaaaaaa"].seconds
    assert left is not None
    assert 86_390 < left <= 86_400
    await aged(database, "aaaaaaaa", DAY)
    assert await living(database, "aaaaaaaa") == {}
    assert not (await found(database, "aaaaaaaa")).alive


async def test_a_revoked_key_ends_at_once_and_once(database: Bound) -> None:
    await added(database, "aaaaaaaa")
    async with database.writing() as unit:
        assert await keys.revoke(unit.session, "aaaaaaaa")
        assert not await keys.revoke(unit.session, "aaaaaaaa")
        assert not await keys.revoke(unit.session, "unknown1")
    assert await living(database, "aaaaaaaa") == {}


async def test_a_replacement_may_do_the_same_and_lasts_as_long(database: Bound) -> None:
    await added(database, "aaaaaaaa", 30 * DAY)
    await aged(database, "aaaaaaaa", 20 * DAY)
    async with database.writing() as unit:
        assert await keys.replace(unit.session, "aaaaaaaa", signed("bbbbbbbb"), DAY)
    both = await living(database, "aaaaaaaa", "bbbbbbbb")
    assert (both["bbbbbbbb"].scopes, both["bbbbbbbb"].within) == (DESK.scopes, DESK.within)
    assert {prefix: round((key.seconds or 0) / 86_400) for prefix, key in both.items()} == {"aaaaaaaa": 1, "bbbbbbbb": 30}
    assert (await found(database, "aaaaaaaa")).replaced_by == "bbbbbbbb"


async def test_an_overlap_makes_no_key_last_longer(database: Bound) -> None:
    await added(database, "aaaaaaaa", DAY)
    async with database.writing() as unit:
        assert await keys.replace(unit.session, "aaaaaaaa", signed("bbbbbbbb"), 9 * DAY)
    assert 0 < ((await living(database, "aaaaaaaa"))["aaaaaaaa"].seconds or 0) <= 86_400


async def test_without_an_overlap_the_old_one_ends_at_once(database: Bound) -> None:
    await added(database, "aaaaaaaa")
    async with database.writing() as unit:
        assert await keys.replace(unit.session, "aaaaaaaa", signed("bbbbbbbb"), 0 * DAY)
    assert list(await living(database, "aaaaaaaa", "bbbbbbbb")) == ["bbbbbbbb"]


@pytest.mark.parametrize("what", ["replaced", "revoked", "unknown"])
async def test_what_cant_be_used_isnt_replaced(database: Bound, what: str) -> None:
    await added(database, "aaaaaaaa")
    async with database.writing() as unit:
        if what == "replaced":
            assert await keys.replace(unit.session, "aaaaaaaa", signed("bbbbbbbb"), DAY)
        elif what == "revoked":
            await keys.revoke(unit.session, "aaaaaaaa")
        old = "unknown1" if what == "unknown" else "aaaaaaaa"
        assert not await keys.replace(unit.session, old, signed("cccccccc"), DAY)
    assert await living(database, "cccccccc") == {}


async def test_the_last_use_is_told_once_a_minute(database: Bound) -> None:
    await added(database, "aaaaaaaa")
    async with database.writing() as unit:
        await keys.tell_used(unit.session, {"aaaaaaaa": 5.0})
    first = await found(database, "aaaaaaaa")
    assert first.last_used_at
    assert 5 <= (first.now - first.last_used_at).total_seconds() < 30
    async with database.writing() as unit:
        await keys.tell_used(unit.session, {"aaaaaaaa": 0.0})
    assert (await found(database, "aaaaaaaa")).last_used_at == first.last_used_at
    async with database.writing() as unit:
        await unit.session.execute(update(KEYS).values(last_used_at=KEYS.c.last_used_at - 61 * SECOND))
        await keys.tell_used(unit.session, {"aaaaaaaa": 0.0})
    assert (await found(database, "aaaaaaaa")).last_used_at != first.last_used_at


async def test_telling_waits_for_nobody(committed: Database) -> None:
    """Two processes that tell of the same keys, in any order, don't lock each other out."""
    for prefix in ("aaaaaaaa", "bbbbbbbb"):
        await added(committed, prefix)
    rival = Database(committed.reads.engine, committed.writes.engine)
    async with rival.writing() as unit:
        await keys.tell_used(unit.session, {"bbbbbbbb": 0.0})
        async with committed.writing() as other:
            await keys.tell_used(other.session, {"bbbbbbbb": 9.0, "aaaaaaaa": 9.0})
        assert (await found(committed, "aaaaaaaa")).last_used_at


async def test_a_signature_is_made_anew_once(database: Bound) -> None:
    await added(database, "aaaaaaaa")
    async with database.writing() as unit:
        await keys.sign_anew(unit.session, Signed("aaaaaaaa", b"wrong", "newest"), "another")
        await keys.sign_anew(unit.session, Signed("aaaaaaaa", b"newer", "newest"), "secret")
        await keys.sign_anew(unit.session, Signed("aaaaaaaa", b"late", "late"), "secret")
    assert (await living(database, "aaaaaaaa"))["aaaaaaaa"].signed == Signed("aaaaaaaa", b"newer", "newest")


async def test_those_that_can_be_used_are_listed_first(database: Bound) -> None:
    for prefix in ("aaaaaaaa", "bbbbbbbb"):
        await added(database, prefix)
    async with database.writing() as unit:
        await keys.revoke(unit.session, "aaaaaaaa")
        listed = [key.prefix for key in await keys.listed(unit.session)]
    assert listed == [ADMIN[6:14], "bbbbbbbb", "aaaaaaaa"]


async def test_a_table_that_isnt_there_is_told(database: Bound) -> None:
    async with database.writing() as unit:
        assert await keys.is_there(unit.session)
        await unit.session.execute(text("ALTER TABLE shelfmark_keys RENAME TO elsewhere"))
        assert not await keys.is_there(unit.session)
