"""A job's events as clients read them: from the present state to the end, after a break, and for no longer than a client may."""

import asyncio
from collections.abc import AsyncIterator
from time import perf_counter

import pytest
from fastapi import FastAPI
from sqlalchemy import update

from service.db import keys
from service.db.bound import Bound
from service.http import following, sse
from service.jobs import transitions
from service.jobs.rows import JobRow, JobRows
from service.jobs.transitions import Claim
from tests.fixtures.application import client_of
from tests.fixtures.jobs import RunJobs
from tests.fixtures.keys import ADMIN, bearer, granted
from tests.http.streams import listening
from tests.http.test_jobs import JOBS, add, asked, begun, prefix
from tests.waiting import until

ADMINS = bearer(ADMIN)


@pytest.fixture(autouse=True)
async def quick(app: FastAPI, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Look more often; and not any more when the test's transaction ends."""
    monkeypatch.setattr(following, "LOOK_SECONDS", 0.01)
    yield
    await until(lambda: not app.state.following.looks)


async def tell(database: Bound, id_: int, done: int) -> int:
    """Have a job that runs get on; its version then."""
    async with database.writing() as unit:
        await transitions.tell(unit.session, await claim_of(database, id_), done=done, total=10)
    return (await JobRows(database).get(id_)).version


async def claim_of(database: Bound, id_: int) -> Claim:
    """The present claim of a job."""
    return id_, (await JobRows(database).get(id_)).claim


async def seen(app: FastAPI, id_: int, version: int) -> None:
    """Wait until the service has seen a version of a job."""
    await until(lambda: app.state.following._followed[id_].seen.version == version)  # noqa: SLF001


async def finish(database: Bound, id_: int) -> None:
    """Have a job that runs end."""
    async with database.writing() as unit:
        assert await transitions.finish(unit.session, await claim_of(database, id_), {"rows": 10, "said": "one\ntwo"})


async def test_a_stream_tells_of_each_change_until_the_end(app: FastAPI, database: Bound) -> None:
    id_ = await begun(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        assert (stream.status, stream.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        assert stream.headers["cache-control"] == "private, no-store"
        assert "content-length" not in stream.headers
        assert stream.body.startswith("retry: 2000\n\n")
        version = await tell(database, id_, 3)
        await until(lambda: len(stream.events) == 2)
        assert stream.events[1][0] == version
        assert (stream.events[1][1]["done"], stream.events[1][1]["total"]) == (3, 10)
        await finish(database, id_)
        await until(lambda: stream.ended)
        assert stream.states == ["running", "running", "done"]
        assert stream.events[-1][1]["result"] == {"rows": 10, "said": "one\ntwo"}
    await until(lambda: not len(app.state.following))
    assert len(app.state.limits.streams) == 0


async def test_what_a_stream_tells_is_what_the_route_shows(app: FastAPI, database: Bound, run_jobs: RunJobs) -> None:
    id_ = await asked(database)
    await run_jobs(add)
    async with client_of(app) as client, listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.ended)
        assert stream.events == [(stream.events[0][0], (await client.get(f"{JOBS}/{id_}")).json())]


async def test_a_client_that_comes_back_is_told_what_is_new(app: FastAPI, database: Bound) -> None:
    id_ = await begun(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
    last = {"Last-Event-ID": str(stream.events[0][0])}
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS | last) as stream:
        await tell(database, id_, 3)
        await until(lambda: stream.events)
        assert [job["done"] for _, job in stream.events] == [3]
    await finish(database, id_)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS | last) as stream:
        await until(lambda: stream.ended)
        assert stream.states == ["done"]
    last = {"Last-Event-ID": str(stream.events[0][0])}
    async with client_of(app) as client:
        assert (await client.get(f"{JOBS}/{id_}/events", headers=last)).status_code == 204


@pytest.mark.parametrize("last", ["", "x", "-1", "9" * 30, "1.5"])
async def test_an_id_that_is_none_of_ours_is_no_reason_to_be_silent(last: str, app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS | {"Last-Event-ID": last}) as stream:
        await until(lambda: stream.states == ["queued"])


async def test_a_client_that_waits_is_sent_a_sign_of_life(app: FastAPI, database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "HEARTBEAT_SECONDS", 0.01)
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.body.count(":\n\n") > 1)
        assert stream.states == ["queued"]


async def test_a_client_that_leaves_leaves_nothing(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        assert len(app.state.following) == len(app.state.limits.streams) == 1
    assert stream.task
    assert stream.task.done()
    assert len(app.state.following) == len(app.state.limits.streams) == app.state.traffic.running == 0


async def test_a_slow_client_is_told_the_newest_alone(app: FastAPI, database: Bound) -> None:
    id_ = await begun(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        stream.reads.clear()
        for done in range(1, 6):
            await seen(app, id_, await tell(database, id_, done))
        stream.reads.set()
        await until(lambda: stream.events[-1][1]["done"] == 5)
        assert len(stream.events) <= 3


async def test_a_client_that_reads_nothing_is_let_go(app: FastAPI, database: Bound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "STALLED_SECONDS", 0.05)
    id_ = await begun(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        stream.reads.clear()
        await tell(database, id_, 1)
        await until(lambda: stream.task and stream.task.done())
        assert len(app.state.following) == len(app.state.limits.streams) == 0


async def test_streams_end_when_the_process_does(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        app.state.traffic.draining = True
        await until(lambda: stream.ended)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:  # it goes on elsewhere, in a moment
        await until(lambda: stream.ended)
        assert stream.states == ["queued"]
        assert stream.headers["connection"] == "close"


async def test_a_key_that_is_revoked_is_told_nothing_more(app: FastAPI, database: Bound) -> None:
    key = await granted(database, "jobs:read")
    id_ = await begun(database)
    async with listening(app, f"{JOBS}/{id_}/events", bearer(key)) as stream:
        await until(lambda: stream.events)
        async with database.writing() as unit:
            await keys.revoke(await unit.session.connection(), prefix(key))
        await until(lambda: all(known.until < asyncio.get_running_loop().time() for known in app.state.keyring.known.values()))
        await tell(database, id_, 1)
        await until(lambda: stream.ended)
        assert len(stream.events) == 1


async def test_a_key_follows_what_it_has_asked_for(app: FastAPI, database: Bound) -> None:
    key = await granted(database, "books:read")
    id_ = await asked(database, prefix(key))
    async with listening(app, f"{JOBS}/{id_}/events", bearer(key)) as stream:
        await until(lambda: stream.states == ["queued"])
        async with client_of(app, key) as client:
            await client.delete(f"{JOBS}/{id_}")
        await until(lambda: stream.ended)
        assert stream.states == ["queued", "cancelled"]


async def test_a_job_that_is_deleted_ends_its_streams(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        async with database.writing() as unit:
            await unit.session.delete(await unit.session.get_one(JobRow, id_))
        await until(lambda: stream.ended)
        assert stream.states == ["queued"]


async def test_so_many_streams_of_each_key_and_in_all(app: FastAPI, database: Bound) -> None:
    app.state.limits.streams._each, app.state.limits.streams._most = 1, 2  # noqa: SLF001
    id_, key = await asked(database), bearer(await granted(database, "jobs:read"))
    path = f"{JOBS}/{id_}/events"
    async with listening(app, path, ADMINS) as one, client_of(app) as client:
        await until(lambda: one.events)
        refused = await client.get(path)
        assert (refused.status_code, refused.json()["type"].rpartition("/")[2]) == (429, "too-many-requests")
        assert refused.json()["detail"].startswith("1 streams of yours are open")
        async with listening(app, path, key) as other:
            await until(lambda: other.events)
            app.state.limits.streams._each = 2  # noqa: SLF001
            assert (await client.get(path)).status_code == 503
        assert dict(app.state.limits.refused) == {"streams_each": 1, "streams": 1}
    async with listening(app, path, ADMINS) as again:
        await until(lambda: again.events)


async def test_head_has_no_body_and_an_end(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS, "HEAD") as stream:
        await until(lambda: stream.ended)
        assert (stream.status, stream.body) == (200, "")
    assert len(app.state.limits.streams) == 0


async def test_a_long_stream_is_no_slow_request(app: FastAPI, database: Bound) -> None:
    """What is counted is the time to its beginning, however long it is read."""
    id_, asked_for = await asked(database), perf_counter()
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        waited = perf_counter() - asked_for
        await until(lambda: stream.events and perf_counter() - asked_for > 2 * waited)
    answers = app.state.requests.of("/v1/jobs/{id}/events", "GET")
    assert sum(answers.classes) == 1
    assert answers.seconds.total <= waited


async def test_a_change_by_anybody_is_told(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with listening(app, f"{JOBS}/{id_}/events", ADMINS) as stream:
        await until(lambda: stream.events)
        async with database.writing() as unit:
            await unit.session.execute(update(JobRow).where(JobRow.id == id_).values(message="by hand"))
        await until(lambda: stream.events[-1][1]["message"] == "by hand")
