"""A job's row, from one state to the next: only the newest claim changes it, and only runs without progress count."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, insert, literal, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from service.db import Database
from service.db.bound import Bound
from service.db.model import table_of
from service.db.outbox import outbox
from service.jobs import transitions
from service.jobs.rows import JobRow
from service.jobs.slots import workers
from service.jobs.transitions import HANDED_SECONDS, Claim
from tests.jobs.errands import add, handed_out, passed

LONG = 3600.0
JOBS = table_of(JobRow)


@pytest.fixture
async def session(database: Bound) -> AsyncIterator[AsyncSession]:
    """Of a unit of work that is undone."""
    async with database.writing() as unit:
        yield unit.session


async def row(session: AsyncSession, id_: int) -> Any:
    """A job's row, as it is now."""
    return (await session.execute(select(JOBS).where(JOBS.c.id == id_))).one()


async def begun(session: AsyncSession, **given: Any) -> Claim:
    """A job that runs."""
    id_ = await add(session, **given)
    (claim,) = [claim for claim in await handed_out(session) if claim[0] == id_]
    assert await transitions.start(session, claim)
    return claim


async def test_a_life(session: AsyncSession) -> None:
    claim = await begun(session, asked_by="me", args={"names": ["a"]})
    found = await row(session, claim[0])
    assert (found.state, found.claim, found.handed, found.failures) == ("running", 1, False, 0)
    assert found.started_at is not None
    assert await transitions.advance(session, claim, {"at": 1}, done=1, total=2, message="one")
    await transitions.tell(session, claim, done=2)
    assert await transitions.finish(session, claim, {"sum": 2})
    found = await row(session, claim[0])
    assert (found.state, found.result, found.checkpoint, found.done, found.total, found.message) == (
        *("done", {"sum": 2}, {"at": 1}),
        *(2, 2, "one"),
    )
    assert found.finished_at >= found.started_at
    assert not await transitions.finish(session, claim, None)
    assert await transitions.fail(session, claim, "late") is None
    assert await transitions.cancel(session, claim[0]) is None
    assert await handed_out(session) == []


async def test_only_the_newest_claim_may_do_anything(session: AsyncSession) -> None:
    old = await begun(session)
    await passed(session, old[0], LONG)
    (new,) = await handed_out(session)
    assert new == (old[0], old[1] + 1)
    for claim in (old, new):  # the new one hasn't begun
        assert not await transitions.advance(session, claim, 1)
        assert not await transitions.finish(session, claim, 1)
        assert await transitions.fail(session, claim, "no") is None
        await transitions.hand_back(session, [claim])
        await transitions.tell(session, claim, message="no")
    assert await transitions.renew(session, [old, new]) == {new: False}
    assert await transitions.start(session, old) is None
    assert await transitions.start(session, new)
    assert await transitions.start(session, new) is None
    assert (await row(session, new[0])).message is None


async def test_what_only_waits_never_fails(session: AsyncSession) -> None:
    id_ = await add(session, attempts=1)
    for times in range(1, 8):
        assert await handed_out(session) == [(id_, times)]
        assert await handed_out(session) == []
        await passed(session, id_, HANDED_SECONDS + 1)
    found = await row(session, id_)
    assert (found.state, found.claim, found.failures) == ("queued", 7, 0)


async def test_a_run_that_is_lost_counts_only_without_progress(session: AsyncSession) -> None:
    claim = await begun(session, attempts=2)
    for checkpoint in range(5):
        assert await transitions.advance(session, claim, checkpoint)
        await passed(session, claim[0], LONG)
        (claim,) = await handed_out(session)
        assert await transitions.start(session, claim)
    assert (await row(session, claim[0])).failures == 0
    await passed(session, claim[0], LONG)
    (claim,) = await handed_out(session)
    found = await row(session, claim[0])
    assert (found.state, found.failures, found.error) == ("queued", 1, transitions.LOST)
    assert await transitions.start(session, claim)
    await passed(session, claim[0], LONG)
    assert await handed_out(session) == []
    found = await row(session, claim[0])
    assert (found.state, found.failures, found.error) == ("failed", 2, transitions.DIED)
    assert found.finished_at is not None


async def test_the_same_checkpoint_again_is_no_progress(session: AsyncSession) -> None:
    """Else a run that fails behind it is tried for ever."""
    claim = await begun(session, attempts=2)
    assert await transitions.advance(session, claim, 1)
    assert await transitions.fail(session, claim, "hm") == "queued"
    for state in ("queued", "failed"):
        await passed(session, claim[0], LONG)
        (claim,) = await handed_out(session)
        assert await transitions.start(session, claim)
        assert await transitions.advance(session, claim, 1)
        assert await transitions.fail(session, claim, "hm") == state
    assert (await row(session, claim[0])).failures == 2


async def test_what_fails_waits_longer_each_time(session: AsyncSession) -> None:
    claim = await begun(session, attempts=2_000)
    waits = []
    for failures in (0, 1, 2, 1_500):
        await session.execute(update(JOBS).values(failures=failures, due_at=func.clock_timestamp(), state="queued"))
        (claim,) = await handed_out(session)
        assert await transitions.start(session, claim)
        assert await transitions.fail(session, claim, "x" * 9_000 + "\0") == "queued"
        waits.append(
            float(await session.scalar(text("SELECT extract(epoch FROM due_at - clock_timestamp()) FROM shelfmark_jobs")) or 0)
        )
    for seconds, wait in zip((2, 4, 8, transitions.BACKOFF_MOST_SECONDS), waits, strict=True):
        assert 0.4 * seconds < wait < 1.6 * seconds
    assert (await row(session, claim[0])).error == "x" * transitions.ERROR_MOST


async def test_a_job_that_waits_is_cancelled_at_once_handed_out_or_not(session: AsyncSession) -> None:
    handed = await add(session)
    (claim,) = await handed_out(session)
    waiting = await add(session)
    assert [await transitions.cancel(session, id_) for id_ in (handed, waiting)] == ["cancelled", "cancelled"]
    assert await transitions.start(session, claim) is None
    assert await handed_out(session) == []
    assert (await row(session, waiting)).finished_at is not None
    assert await transitions.cancel(session, waiting) is None


async def test_a_job_that_runs_is_cancelled_however_its_run_ends(session: AsyncSession) -> None:
    claims = [await begun(session) for _ in range(4)]
    for id_, _ in claims:
        assert await transitions.cancel(session, id_) == "running"
        assert await transitions.cancel(session, id_) == "running"
    assert await transitions.renew(session, claims) == dict.fromkeys(claims, True)
    heard, failed, back, lost = claims
    assert not await transitions.advance(session, heard, 1)
    assert await transitions.cancelled(session, heard)
    assert await transitions.fail(session, failed, "hm") == "cancelled"
    await transitions.hand_back(session, [back])
    await passed(session, lost[0], LONG)
    assert await handed_out(session) == []
    for id_, _ in claims:
        found = await row(session, id_)
        assert (found.state, found.finished_at is not None) == ("cancelled", True)


async def test_what_nobody_cancelled_does_not_end_as_cancelled(session: AsyncSession) -> None:
    claim = await begun(session)
    assert not await transitions.cancelled(session, claim)
    assert (await row(session, claim[0])).state == "running"


async def test_done_in_spite_of_being_cancelled_is_done(session: AsyncSession) -> None:
    claim = await begun(session)
    await transitions.cancel(session, claim[0])
    assert await transitions.finish(session, claim, None)
    assert (await row(session, claim[0])).state == "done"


async def test_what_is_handed_back_is_due_at_once_and_has_not_failed(session: AsyncSession) -> None:
    claim = await begun(session)
    await transitions.hand_back(session, [claim])
    assert (await row(session, claim[0])).failures == 0
    assert await handed_out(session) == [(claim[0], claim[1] + 1)]


async def test_what_is_postponed_waits_without_a_failure(session: AsyncSession) -> None:
    claim = await begun(session)
    assert await transitions.postpone(session, claim, LONG, "waiting for a turn") == "queued"
    found = await row(session, claim[0])
    assert (found.state, found.failures, found.message, found.finished_at) == ("queued", 0, "waiting for a turn", None)
    assert await handed_out(session) == []
    assert await transitions.postpone(session, claim, LONG, "again") is None
    await passed(session, claim[0], LONG)
    assert await handed_out(session) == [(claim[0], claim[1] + 1)]


async def test_what_is_postponed_and_was_cancelled_ends(session: AsyncSession) -> None:
    claim = await begun(session)
    await transitions.cancel(session, claim[0])
    assert await transitions.postpone(session, claim, LONG, "waiting for a turn") == "cancelled"
    assert (await row(session, claim[0])).finished_at is not None


async def test_an_import_is_begun_anew_from_its_start(session: AsyncSession) -> None:
    claim = await begun(session, name="import")
    assert await transitions.advance(session, claim, 7)
    assert await transitions.fail(session, claim, "no", final=True) == "failed"
    assert await transitions.retry(session, claim[0])
    assert (await row(session, claim[0])).checkpoint is None


async def test_an_error_may_hold_what_is_no_text(session: AsyncSession) -> None:
    claim = await begun(session)
    assert await transitions.fail(session, claim, "caf\udce9.csv isn't there\0", final=True) == "failed"
    assert (await row(session, claim[0])).error == "caf?.csv isn't there"


async def test_what_could_not_be_rung_for_is_taken_back(session: AsyncSession) -> None:
    first, second = await add(session), await add(session)
    claims = await handed_out(session)
    assert await transitions.start(session, claims[0])
    await transitions.take_back(session, claims)
    assert (await row(session, first)).state == "running"
    assert await transitions.start(session, claims[1]) is None
    assert await handed_out(session) == [(second, 2)]


async def test_no_more_is_handed_out_than_twice_what_living_workers_run(session: AsyncSession) -> None:
    ids = [await add(session) for _ in range(9)]
    old = func.clock_timestamp() - text(f"interval '{transitions.ALIVE_SECONDS + 1} seconds'")
    await session.execute(insert(workers), {"id": "dead", "slots": 50})
    await session.execute(update(workers).values(seen_at=old))
    assert await transitions.hand_out(session, 100) == []
    await session.execute(insert(workers), {"id": "one", "slots": 2})
    claims = await transitions.hand_out(session, 3)
    claims = [*claims, *await transitions.hand_out(session, 100)]
    assert claims == [(id_, 1) for id_ in ids[:4]]  # the oldest
    assert await transitions.start(session, claims[1])
    assert await transitions.hand_out(session, 100) == [(ids[4], 1)]


async def test_one_hands_out_at_a_time(committed: Database, importing_engine: AsyncEngine) -> None:
    async with committed.writing() as unit:
        await add(unit.session)
        await unit.session.execute(insert(workers), {"id": "one", "slots": 2})
    async with committed.writing() as unit:
        assert len(await transitions.hand_out(unit.session, 100)) == 1
        async with importing_engine.begin() as other:
            assert await transitions.hand_out(other, 100) == []


async def test_a_lease_that_is_young_is_left_alone_and_an_old_one_renewed(session: AsyncSession) -> None:
    young, old = await begun(session), await begun(session)
    await passed(session, old[0], 20)
    before = [(await row(session, id_)).due_at for id_, _ in (young, old)]
    assert await transitions.renew(session, [young, old]) == {young: False, old: False}
    after = [(await row(session, id_)).due_at for id_, _ in (young, old)]
    assert (after[0] == before[0], after[1] > before[1]) == (True, True)
    assert await handed_out(session) == []


async def test_renewing_does_not_wait_for_a_chunk_that_is_being_kept(committed: Database, importing_engine: AsyncEngine) -> None:
    async with committed.writing() as unit:
        busy, idle = await begun(unit.session), await begun(unit.session)
        for id_, _ in (busy, idle):
            await passed(unit.session, id_, 25)
    async with committed.writing() as unit:
        assert await transitions.advance(unit.session, busy, 1)
        async with importing_engine.begin() as other:
            await other.execute(text("SET LOCAL lock_timeout = '1s'"))
            assert await transitions.renew(other, [busy, idle]) == {busy: False, idle: False}
    async with committed.writing() as unit:
        assert await handed_out(unit.session) == []
        left = text("SELECT min(due_at - clock_timestamp()) > interval '20 seconds' FROM shelfmark_jobs")
        assert await unit.session.scalar(left)


async def test_a_job_is_begun_anew_where_it_had_come_to(session: AsyncSession) -> None:
    claim = await begun(session, attempts=1)
    assert await transitions.advance(session, claim, 7)
    assert await transitions.fail(session, claim, "no", final=True) == "failed"
    assert not await transitions.retry(session, claim[0] + 1)
    before = await session.scalar(select(func.count()).select_from(outbox))
    assert await transitions.retry(session, claim[0])
    assert await session.scalar(select(func.count()).select_from(outbox)) == (before or 0) + 1
    assert not await transitions.retry(session, claim[0])
    (again,) = await handed_out(session)
    found = await transitions.start(session, again)
    assert found
    assert (found.checkpoint, (await row(session, claim[0])).error) == (7, None)


async def test_one_whose_key_is_taken_is_not_begun_anew(session: AsyncSession) -> None:
    claim = await begun(session, key="k")
    await transitions.fail(session, claim, "no", final=True)
    other = await add(session, key="k")
    assert not await transitions.retry(session, claim[0])
    await transitions.cancel(session, other)
    assert await transitions.retry(session, other)


async def test_two_open_jobs_of_a_key_cannot_be(database: Bound) -> None:
    async with database.writing() as unit:
        await add(unit.session, key="k")
        with pytest.raises(IntegrityError):
            await add(unit.session, key="k")
        await unit.session.rollback()


async def test_old_jobs_are_deleted_and_open_ones_are_not(session: AsyncSession) -> None:
    done, fresh, waiting = await begun(session), await begun(session), await add(session)
    await transitions.finish(session, done, None)
    await session.execute(
        update(JOBS).values(finished_at=func.clock_timestamp() - text("interval '8 days'")).where(JOBS.c.id == done[0])
    )
    await transitions.finish(session, fresh, None)
    assert await transitions.prune(session, 7) == 1
    assert set(await session.scalars(select(JOBS.c.id))) == {fresh[0], waiting}


READ = text("""
SELECT coalesce(sum(seq_tup_read + idx_tup_fetch), 0) FROM pg_stat_xact_user_tables WHERE relname = 'shelfmark_jobs'
""")


@pytest.mark.parametrize("due_in", [timedelta(hours=1), timedelta(hours=-1)], ids=["delayed", "waiting"])
async def test_what_is_handed_out_is_looked_up_however_much_waits(session: AsyncSession, due_in: timedelta) -> None:
    """Neither jobs whose time is still to come nor a long backlog are read for the few that are handed out."""
    many = select(func.generate_series(1, 20_000)).subquery()
    rows = select(literal("test.many"), literal(3), literal(30.0), func.clock_timestamp() + due_in).select_from(many)
    await session.execute(insert(JOBS).from_select(["name", "attempts", "lease", "due_at"], rows))
    await session.execute(text("ANALYZE shelfmark_jobs"))
    before = await session.scalar(READ)
    await transitions.hand_out(session, 10, room=10)
    await transitions.unbegun(session, 1.0, 10)
    assert await session.scalar(READ) - before < 100
