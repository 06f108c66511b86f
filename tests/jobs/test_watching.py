"""What has changed of jobs since somebody looked."""

import json

from service.db.bound import Bound
from service.jobs import transitions
from service.jobs.job import How, enqueue, job
from service.jobs.running import Run
from service.jobs.watching import UNSEEN, Changes
from tests.fixtures.jobs import RunJobs
from tests.fixtures.statements import Queries

CHANGES = Changes(["id", "state", "result"])


@job(name="test.say")
async def say(run: Run, *, words: str) -> str:
    """Says it."""
    return words


async def test_only_what_has_changed_is_given(database: Bound, run_jobs: RunJobs, queries: Queries) -> None:
    async with database.writing() as unit:
        first, second = [await enqueue(say, How(asked_by="aaaaaaaa"), words="a\nb") for _ in range(2)]
    queries.clear()
    async with database.reading() as session:
        found = {seen.id: seen for seen in await CHANGES.since(session, {first: UNSEEN, second: UNSEEN})}
    assert len(queries) == 1
    assert [found[id_].ended for id_ in (first, second)] == [False, False]
    assert found[first].asked_by == "aaaaaaaa"
    assert json.loads(found[first].shown) == {"id": first, "state": "queued", "result": None}
    known = {id_: seen.version for id_, seen in found.items()}
    async with database.reading() as session:
        assert await CHANGES.since(session, known) == []
    async with database.writing() as unit:
        await transitions.cancel(unit.session, second)
    async with database.reading() as session:
        (changed,) = await CHANGES.since(session, known)
    assert (changed.id, changed.ended, changed.version > known[second]) == (second, True, True)
    await run_jobs(say)
    async with database.reading() as session:
        done = next(seen for seen in await CHANGES.since(session, known) if seen.id == first)
    assert json.loads(done.shown)["result"] == "a\nb"
    assert "\n" not in done.shown


async def test_one_that_is_gone_is_told(database: Bound) -> None:
    async with database.reading() as session:
        (gone,) = await CHANGES.since(session, {7: 3})
        assert (gone.id, gone.version, gone.ended) == (7, UNSEEN, True)
        assert await CHANGES.since(session, {7: UNSEEN}) == []
