"""Jobs whose worker has died, or whose message was lost: they go on before what is new, however much of that waits."""

from sqlalchemy import text

from service.db.bound import Bound
from service.jobs import transitions
from service.jobs.job import enqueue, job
from service.jobs.running import Run
from service.jobs.transitions import Claim

WAITING = 20
LATER = text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - make_interval(secs => 1) WHERE id = :id")
SOONER = text("UPDATE shelfmark_jobs SET due_at = clock_timestamp() - make_interval(mins => 1) WHERE NOT handed AND claim = 0")


@job(name="test.nothing")
async def nothing(run: Run) -> None:
    """Does nothing."""


async def one_handed_out(database: Bound) -> Claim:
    """The claim of a job that was handed out."""
    async with database.writing() as unit:
        await enqueue(nothing)
        (claim,) = await transitions.hand_out(unit.session, 1, room=1)
    return claim


async def overdue_behind_others(database: Bound, claim: Claim) -> None:
    """Let a job's time be over, while others wait that have waited for longer."""
    async with database.writing() as unit:
        for _ in range(WAITING):
            await enqueue(nothing)
        await unit.session.execute(SOONER)
        await unit.session.execute(LATER, {"id": claim[0]})


async def handed_out(database: Bound, room: int) -> list[Claim]:
    """What is handed out next."""
    async with database.writing() as unit:
        return list(await transitions.hand_out(unit.session, WAITING, room=room))


async def test_an_orphan_goes_first(database: Bound) -> None:
    claim = await one_handed_out(database)
    async with database.writing() as unit:
        assert await transitions.start(unit.session, claim)
    await overdue_behind_others(database, claim)
    assert await handed_out(database, room=0) == [(claim[0], claim[1] + 1)]


async def test_a_job_whose_message_was_lost_goes_first(database: Bound) -> None:
    claim = await one_handed_out(database)
    await overdue_behind_others(database, claim)
    assert (claim[0], claim[1] + 1) in await handed_out(database, room=1)


async def test_what_is_new_goes_as_far_as_there_is_room(database: Bound) -> None:
    claim = await one_handed_out(database)
    await overdue_behind_others(database, claim)
    assert len(await handed_out(database, room=3)) == 4
    assert await handed_out(database, room=0) == []
