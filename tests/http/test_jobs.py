"""Jobs over HTTP: who sees which, what of them is shown, what is asked of them, and how they are cancelled."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.db.bound import Bound
from service.http.jobs import MEMBERS
from service.jobs import transitions
from service.jobs.job import How, Refused, enqueue, job
from service.jobs.rows import JobRow, JobRows
from service.jobs.running import Run
from tests.fixtures.application import client_of
from tests.fixtures.jobs import RunJobs
from tests.fixtures.keys import granted
from tests.fixtures.statements import Queries

JOBS = "/v1/jobs"
HIDDEN = {"args", "key", "checkpoint", "claim", "lease", "handed", "advanced", "version"}


@job(name="test.add")
async def add(run: Run, *, numbers: list[int], secret: str = "") -> int:
    """Adds numbers."""
    async with run.chunk():
        run.reached(len(numbers), done=len(numbers), total=len(numbers), message="added")
    return sum(numbers)


@job(name="test.refuse")
async def refuse(run: Run) -> None:
    """Can't be done."""
    raise Refused("It can't be done.")


async def asked(database: Bound, by: str = "") -> int:
    """A job that somebody has asked for."""
    async with database.writing():
        return await enqueue(add, How(asked_by=by), numbers=[1, 2], secret="swordfish")


async def begun(database: Bound, by: str = "") -> int:
    """One that runs."""
    id_ = await asked(database, by)
    async with database.writing() as unit:
        (claim,) = await transitions.hand_out(unit.session, 1, room=1)
        assert claim[0] == id_
        assert await transitions.start(unit.session, claim)
    return id_


def prefix(key: str) -> str:
    """By which a job's row calls a key."""
    return key.split("_")[1]


async def test_a_job_is_shown_without_what_is_its_own_business(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    id_ = await asked(database)
    waiting = (await client.get(f"{JOBS}/{id_}")).json()
    assert (waiting["state"], waiting["result"], waiting["started_at"]) == ("queued", None, None)
    await run_jobs(add)
    answer = await client.get(f"{JOBS}/{id_}")
    found = answer.json()
    assert set(found) == set(MEMBERS)
    assert not HIDDEN & set(found)
    assert "swordfish" not in answer.text
    assert [found[name] for name in ("state", "result", "done", "total", "message", "error")] == ["done", 3, 2, 2, "added", None]
    assert found["finished_at"] >= found["started_at"] >= found["created_at"]


async def test_a_failure_says_why(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    async with database.writing():
        id_ = await enqueue(refuse)
    await run_jobs(refuse)
    found = (await client.get(f"{JOBS}/{id_}")).json()
    assert (found["state"], found["error"]) == ("failed", "It can't be done.")


@pytest.mark.parametrize("hidden", sorted(HIDDEN))
async def test_what_is_hidden_cannot_be_asked_for(hidden: str, client: AsyncClient, queries: Queries) -> None:
    for question in (f"{hidden}=1", f"sort={hidden}", f"fields={hidden}"):
        answer = await client.get(f"{JOBS}?{question}")
        assert answer.status_code == 422, answer.text
    assert len(queries) == 0, str(queries)


async def test_a_list_answers_what_an_index_serves(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    first, second = await asked(database), await asked(database)
    async with database.writing():
        other = await enqueue(refuse)
    await run_jobs(refuse, add)
    third = await asked(database)

    async def ids(question: str) -> list[int]:
        answer = await client.get(f"{JOBS}?{question}")
        assert answer.status_code == 200, answer.text
        return [found["id"] for found in answer.json()["data"]]

    assert await ids("") == [third, other, second, first]
    assert await ids("state=done") == [second, first]
    assert await ids("state=failed") == [other]
    assert await ids("name=test.add&sort=id") == [first, second, third]
    assert await ids(f"id__in={first},{third}") == [first, third]
    page = (await client.get(f"{JOBS}?limit=3")).json()
    assert await ids(f"limit=3&cursor={page['next']}") == [first]


async def test_what_no_index_serves_is_refused(client: AsyncClient, queries: Queries) -> None:
    answer = await client.get(f"{JOBS}?message=added")
    problem = answer.json()
    assert (answer.status_code, problem["type"].rpartition("/")[2]) == (400, "not-served")
    assert problem["detail"].startswith("No index of jobs serves message= & sort=-id. Nearest: ")
    assert len(queries) == 0, str(queries)


async def test_the_contract_speaks_of_jobs(client: AsyncClient) -> None:
    found = (await client.get(f"{JOBS}:contract")).json()
    assert (found["table"], found["default_order"]) == ("jobs", ["-id"])
    assert ["state="] in [question["filters"] for question in found["questions"]]


async def test_a_missing_job(client: AsyncClient) -> None:
    for answer in (await client.get(f"{JOBS}/7"), await client.delete(f"{JOBS}/7"), await client.get(f"{JOBS}/7/events")):
        assert (answer.status_code, answer.json()["detail"]) == (404, "There is no 7 in jobs. It may have been deleted.")
    assert (await client.get(f"{JOBS}/x/events")).status_code == 422


async def test_without_a_key_nothing_is_told(app: FastAPI, database: Bound) -> None:
    id_ = await asked(database)
    async with client_of(app, key=None) as client:
        for path in (JOBS, f"{JOBS}/{id_}", f"{JOBS}/{id_}/events"):
            assert (await client.get(path)).status_code == 401
        assert (await client.delete(f"{JOBS}/{id_}")).status_code == 401


@pytest.mark.parametrize("scopes", [("books:read",), ("jobs:read",), ("admin",), ("*:read", "*:write")])
async def test_a_key_that_sees_a_part_of_the_tables_sees_its_own_jobs_alone(
    scopes: tuple[str, ...], app: FastAPI, database: Bound
) -> None:
    within = None if scopes == ("books:read",) else {"member_id": "7"}
    key = await granted(database, *scopes, within=within)
    own, others, services = await asked(database, prefix(key)), await asked(database, "aaaaaaaa"), await asked(database)
    async with client_of(app, key) as client:
        assert [found["id"] for found in (await client.get(JOBS)).json()["data"]] == [own]
        assert [found["id"] for found in (await client.get(f"{JOBS}?state=queued")).json()["data"]] == [own]
        assert (await client.get(f"{JOBS}?id__in={own},{others}")).status_code == 400
        assert (await client.get(f"{JOBS}/{own}")).json()["asked_by"] == prefix(key)
        for id_ in (others, services):
            assert (await client.get(f"{JOBS}/{id_}")).status_code == 404
            assert (await client.get(f"{JOBS}/{id_}/events")).status_code == 404
            assert (await client.delete(f"{JOBS}/{id_}")).status_code == 404
        refused = await client.get(f"{JOBS}?asked_by=aaaaaaaa")
        assert (refused.status_code, refused.json()["within"]) == (403, {"asked_by": prefix(key)})
        assert (await client.delete(f"{JOBS}/{own}")).status_code == 204
    assert (await JobRows(database).get(others)).state == "queued"


async def test_a_cursor_of_one_key_is_no_other_keys(app: FastAPI, database: Bound) -> None:
    one, other = [await granted(database, "books:read") for _ in range(2)]
    for key in (one, one, other, other):
        await asked(database, prefix(key))
    async with client_of(app, one) as first, client_of(app, other) as second:
        cursor = (await first.get(f"{JOBS}?limit=1")).json()["next"]
        assert (await first.get(f"{JOBS}?limit=1&cursor={cursor}")).status_code == 200
        assert (await second.get(f"{JOBS}?limit=1&cursor={cursor}")).status_code == 422


async def test_a_key_may_read_all_jobs_and_cancel_its_own(app: FastAPI, database: Bound) -> None:
    key = await granted(database, "jobs:read")
    own, others = await asked(database, prefix(key)), await asked(database, "aaaaaaaa")
    async with client_of(app, key) as client:
        assert [found["id"] for found in (await client.get(JOBS)).json()["data"]] == [others, own]
        assert (await client.get(f"{JOBS}?asked_by=aaaaaaaa")).json()["data"][0]["id"] == others
        refused = await client.delete(f"{JOBS}/{others}")
        assert (refused.status_code, refused.json()["scope"]) == (403, "jobs:write")
        assert (await client.delete(f"{JOBS}/{own}")).status_code == 204


async def test_a_job_that_waits_is_cancelled_at_once(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    id_ = await asked(database)
    answer = await client.delete(f"{JOBS}/{id_}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"{JOBS}/{id_}")).json()["state"] == "cancelled"
    assert await run_jobs(add) == []
    again = await client.delete(f"{JOBS}/{id_}")
    assert (again.status_code, again.json()["detail"]) == (
        409,
        f"The job {id_} was cancelled already, so there is nothing to cancel.",
    )


async def test_a_job_that_runs_is_told_to_end(client: AsyncClient, database: Bound) -> None:
    id_ = await begun(database)
    answer = await client.delete(f"{JOBS}/{id_}")
    assert (answer.status_code, answer.json()["state"]) == (202, "running")
    assert answer.json()["cancel_at"]
    assert (await client.delete(f"{JOBS}/{id_}")).json()["cancel_at"] == answer.json()["cancel_at"]
    row = await JobRows(database).get(id_)
    async with database.writing() as unit:
        assert await transitions.renew(unit.session, [(id_, row.claim)]) == {(id_, row.claim): True}


async def test_a_job_that_is_done_stays_so(client: AsyncClient, database: Bound, run_jobs: RunJobs) -> None:
    id_ = await asked(database)
    await run_jobs(add)
    answer = await client.delete(f"{JOBS}/{id_}")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (409, "job-ended")
    assert answer.json()["detail"] == f"The job {id_} is done already, so there is nothing to cancel."
    assert (await JobRows(database).get(id_)).state == "done"


async def test_openapi_has_the_routes(client: AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert set(paths["/v1/jobs/{id}"]) == {"get", "delete"}
    assert "text/event-stream" in paths["/v1/jobs/{id}/events"]["get"]["responses"]["200"]["content"]
    assert {"202", "204", "404", "409"} <= set(paths["/v1/jobs/{id}"]["delete"]["responses"])
    assert JobRow.called == "jobs"


async def test_a_state_that_was_meant(client: AsyncClient, database: Bound) -> None:
    id_ = await begun(database)
    seen = await client.get(f"{JOBS}/{id_}")
    assert (await client.get(f"{JOBS}/{id_}", headers={"If-None-Match": seen.headers["etag"]})).status_code == 304
    assert (await client.delete(f"{JOBS}/{id_}", headers={"If-Match": seen.headers["etag"]})).status_code == 202
    assert (await client.delete(f"{JOBS}/{id_}", headers={"If-Match": seen.headers["etag"]})).status_code == 412
