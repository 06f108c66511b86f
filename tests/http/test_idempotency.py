"""Idempotency keys: sent again, a request does nothing again and gets the first answer; only what was committed is kept."""

import asyncio
from uuid import uuid4

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import JSONResponse
from httpx import AsyncClient, Response
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db import Database, answers
from service.db.bound import Bound
from service.http import Uses, open_to_all
from service.http.idempotency import HEADER
from service.http.route import Route
from service.tables.authors import Author, Authors
from service.tables.loans import Loan
from tests.factories.copies import CopyFactory
from tests.factories.members import MemberFactory
from tests.fixtures.statements import Queries
from tests.http.conftest import refused
from tests.waiting import until

AUTHORS = "/v1/authors"
WAITS = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
WAITED_FOR = text("SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'authors'::regclass AND NOT granted)")


def key() -> dict[str, str]:
    """A key that nobody used."""
    return {HEADER: str(uuid4())}


async def number_of(database: Database, model: type[Author] | type[Loan] = Author) -> int:
    """How many rows there are."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(model)) or 0)


async def kept(database: Database) -> int:
    """How many answers are kept."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(answers.answers)) or 0)


async def test_sent_again_it_gets_the_first_answer_and_does_nothing(client: AsyncClient, database: Bound) -> None:
    headers = key()
    first = await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    again = await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["content-type"] == first.headers["content-type"]
    assert (first.headers.get("idempotency-replayed"), again.headers.get("idempotency-replayed")) == (None, "true")
    assert await number_of(database) == 1


async def test_without_a_key_nothing_is_kept(client: AsyncClient, database: Bound) -> None:
    await client.post(AUTHORS, json={"name": "Tove"})
    assert await kept(database) == 0


async def test_another_body_under_the_same_key_is_refused(client: AsyncClient, database: Bound) -> None:
    headers = key()
    await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    other = await client.post(AUTHORS, json={"name": "Lars"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-key-reused")
    assert await number_of(database) == 1


async def test_another_route_has_keys_of_its_own(client: AsyncClient, database: Bound) -> None:
    headers = key()
    await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    batch = await client.post(f"{AUTHORS}:batch", json={"data": [{"name": "Lars"}]}, headers=headers)
    assert batch.status_code == 201
    assert (await client.post(f"{AUTHORS}:batch", json={"data": [{"name": "Lars"}]}, headers=headers)).content == batch.content
    assert await number_of(database) == 2


async def test_a_key_that_begins_like_another_route_is_not_that_routes(client: AsyncClient) -> None:
    """What is hashed is told apart part by part."""
    one = await client.post("/v1/authors", json={"name": "Ann"}, headers={"Idempotency-Key": ":batch-1"})
    two = await client.post("/v1/authors:batch", json={"data": [{"name": "Ben"}]}, headers={"Idempotency-Key": "-1"})
    assert (one.status_code, two.status_code) == (201, 201)
    assert [row["name"] for row in two.json()["data"]] == ["Ben"]


async def test_a_refused_write_keeps_nothing_and_may_be_tried_again(client: AsyncClient, database: Bound) -> None:
    headers = key()
    await client.post(AUTHORS, json={"name": "Tove"})
    assert (await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)).status_code == 409
    assert (await client.post(AUTHORS, json={"nam": "Lars"}, headers=headers)).status_code == 422
    assert await kept(database) == 0
    assert (await client.post(AUTHORS, json={"name": "Lars"}, headers=headers)).status_code == 201
    assert await number_of(database) == 2


async def test_another_query_or_type_under_the_same_key_is_refused(client: AsyncClient, database: Bound) -> None:
    headers, body = key(), b'{"name": "Tove"}'
    as_json = headers | {"Content-Type": "application/json"}
    assert (await client.post(AUTHORS, content=body, headers=as_json)).status_code == 201
    for path, kind in ((f"{AUTHORS}?to=elsewhere", "application/json"), (AUTHORS, "application/problem+json")):
        other = await client.post(path, content=body, headers=headers | {"Content-Type": kind})
        assert refused(other, 422, "idempotency-key-reused")
    assert await number_of(database) == 1


async def test_what_a_route_of_ones_own_refuses_by_its_answer_is_undone(app: FastAPI, client: AsyncClient, database: Bound) -> None:
    """Refusals needn't be raised: an answer of 400 and above is one, and nothing of it is kept."""
    routes = APIRouter(route_class=Route)

    @routes.post("/half")
    @open_to_all
    async def half(authors: Uses[Authors]) -> JSONResponse:
        await authors.create(name="Half")
        return JSONResponse({}, 409)

    app.include_router(routes)
    answers_given = [await client.post("/half", headers=headers) for headers in [key()] * 2]
    assert [answer.status_code for answer in answers_given] == [409, 409]
    assert await number_of(database) == await kept(database) == 0


async def test_acts_of_a_table_file_have_keys_as_well(client: AsyncClient, database: Bound) -> None:
    copy, member, headers = await CopyFactory.create(), await MemberFactory.create(), key()
    body = {"member_id": member.id, "barcode": copy.barcode}
    first = await client.post("/v1/loans", json=body, headers=headers)
    again = await client.post("/v1/loans", json=body, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201), first.text
    assert again.json() == first.json()
    assert await number_of(database, Loan) == 1


@pytest.mark.parametrize("given", ["", "ö", "with space", "k" * 256])
async def test_what_is_no_key_is_refused(client: AsyncClient, database: Bound, given: str) -> None:
    answer = await client.post(AUTHORS, json={"name": "Tove"}, headers=[(HEADER.encode(), given.encode())])
    assert (answer.status_code, await number_of(database)) == (422, 0)
    assert HEADER in answer.json()["detail"]


async def test_two_keys_are_refused(client: AsyncClient, database: Bound) -> None:
    answer = await client.post(AUTHORS, json={"name": "Tove"}, headers=[(HEADER, "one"), (HEADER, "two")])
    assert (answer.status_code, await number_of(database)) == (422, 0)


async def test_after_a_day_a_key_is_new(client: AsyncClient, database: Bound) -> None:
    headers = key()
    await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    await aged(database)
    other = await client.post(AUTHORS, json={"name": "Lars"}, headers=headers)
    assert (other.status_code, other.json()["name"]) == (201, "Lars")
    assert await kept(database) == 1


async def test_old_answers_go_with_new_ones(client: AsyncClient, database: Bound) -> None:
    for number in range(5):
        await client.post(AUTHORS, json={"name": f"Tove {number}"}, headers=key())
    await aged(database)
    for number in range(3):
        await client.post(AUTHORS, json={"name": f"Lars {number}"}, headers=key())
    assert await kept(database) == 3


async def aged(database: Database) -> None:
    """Let a day pass for all answers."""
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE shelfmark_answers SET answered_at = answered_at - interval '25 hours'"))


async def test_while_the_first_runs_another_is_told_to_wait(
    committing_client: AsyncClient, committed: Database, engine: AsyncEngine
) -> None:
    headers = key()

    async def send() -> Response:
        return await committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers)

    async with engine.begin() as connection, asyncio.timeout(5):
        await connection.execute(text("LOCK TABLE authors IN EXCLUSIVE MODE"))
        first = asyncio.create_task(send())
        while not await connection.scalar(WAITED_FOR):
            pass
        second = await send()
    assert (second.status_code, second.json()["type"]) == (409, "/problems/still-running")
    assert second.headers["retry-after"] == "1"
    assert (await first).status_code == 201
    assert (await send()).content == (await first).content
    assert await number_of(committed) == 1


async def test_a_keyed_write_is_one_statement(client: AsyncClient, queries: Queries) -> None:
    """The row and its answer; sent again, it takes a unit of work to find that."""
    headers = key()
    queries.clear()
    first = await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    assert len(queries) == 1
    assert (await client.post(AUTHORS, json={"name": "Tove"}, headers=headers)).content == first.content
    assert len(queries) > 2


async def test_another_process_that_is_at_it_is_waited_for_by_nobody(
    committing_client: AsyncClient, committed: Database, engine: AsyncEngine
) -> None:
    headers = key()
    await committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM authors"))
        identity = (await connection.execute(text("DELETE FROM shelfmark_answers RETURNING id"))).scalar_one()
    async with engine.begin() as connection:
        await connection.execute(answers.LOCK, {"number": answers.number_of(identity)})
        second = await committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    assert refused(second, 409, "still-running")
    assert (await number_of(committed), await kept(committed)) == (0, 0)


async def test_an_answer_that_is_kept_meanwhile_undoes_the_write(
    committing_client: AsyncClient, committed: Database, engine: AsyncEngine
) -> None:
    """The statement can't see it; its own answer finds no room, and all of it is undone."""
    headers = key()
    first = await committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM authors"))
        await connection.execute(text("CREATE TABLE aside AS SELECT * FROM shelfmark_answers"))
        await connection.execute(text("DELETE FROM shelfmark_answers"))
    async with engine.connect() as connection, engine.connect() as outside:
        await outside.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("INSERT INTO shelfmark_answers SELECT * FROM aside"))
        waiting = asyncio.create_task(committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers))
        await until(lambda: outside.scalar(WAITS))
        await connection.commit()
        await connection.execute(text("DROP TABLE aside"))
        await connection.commit()
    again = await waiting
    assert (again.status_code, again.content, again.headers["idempotency-replayed"]) == (201, first.content, "true")
    assert await number_of(committed) == 0


async def test_a_lost_connection_is_no_reason_not_to_know(
    committing_client: AsyncClient, committed: Database, engine: AsyncEngine
) -> None:
    """With a key it can be done again: it is there once."""
    headers = key()
    async with engine.connect() as connection, engine.connect() as outside:
        await outside.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("LOCK TABLE authors IN EXCLUSIVE MODE"))
        waiting = asyncio.create_task(committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers))
        await until(lambda: outside.scalar(WAITS))
        await outside.execute(text(str(WAITS).replace("count(*)", "count(pg_terminate_backend(pid))")))
        await connection.rollback()
    assert (await waiting).status_code == 201
    assert (await number_of(committed), await kept(committed)) == (1, 1)


async def test_sent_many_times_at_once_it_is_done_once(committing_client: AsyncClient, committed: Database) -> None:
    headers = key()
    sent = [committing_client.post(AUTHORS, json={"name": "Tove"}, headers=headers) for _ in range(12)]
    found = await asyncio.gather(*sent)
    done = [answer for answer in found if answer.status_code == 201]
    assert {answer.status_code for answer in found} <= {201, 409}
    assert len({answer.content for answer in done}) == 1
    assert await number_of(committed) == 1


async def test_old_answers_are_looked_up_however_many_are_kept(client: AsyncClient, database: Bound) -> None:
    """Each new answer takes two old ones with it. Those that aren't old yet are not read for that."""
    many = text("""
        INSERT INTO shelfmark_answers (id, asked, status, headers, body)
        SELECT decode(md5(CAST(number AS text)), 'hex'), '', 201, '{}', '' FROM generate_series(1, 20000) AS number
    """)
    read = text("""
        SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables WHERE relname = 'shelfmark_answers'
    """)
    async with database.writing() as unit:
        await unit.session.execute(many)
        await unit.session.execute(text("ANALYZE shelfmark_answers"))
        before = int(await unit.session.scalar(read) or 0)
    assert (await client.post(AUTHORS, json={"name": "Tove"}, headers=key())).status_code == 201
    assert (await client.post(f"{AUTHORS}:batch", json={"data": [{"name": "Astrid"}]}, headers=key())).status_code == 201
    async with database.reading() as session:
        assert int(await session.scalar(read) or 0) - before < 100
