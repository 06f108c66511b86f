"""Other people's keys, rows and cursors: whoever has no right to something learns nothing of it, not even whether it is there."""

import base64
import datetime
import string
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient, Response
from sqlalchemy import text

from service.db import keys
from service.db.bound import Bound
from tests.factories.books import BookFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.application import client_of
from tests.fixtures.keys import ADMIN, bearer, forged, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import refused

SYMBOLS = string.ascii_letters + string.digits + "-_"
NEVER = 10**9
"""A row that never was."""
OWN = ("ratelimit", "x-request-id", "content-length")
"""Headers that differ from one request to the next, whatever is asked."""
Maker = Callable[[Bound, int], Awaitable[dict[str, str]]]


@dataclass
class World:
    """Two members, each with loans and a hold; and a book."""

    ann: int
    ben: int
    loan: int
    hold: int
    book: int


@pytest.fixture
async def world(database: Bound) -> World:
    """What there is to be stolen: Ben's."""
    ann, ben = await MemberFactory.create(name="Ann"), await MemberFactory.create(name="Ben")
    await LoanFactory.create_batch(4, member=ann)
    loans = await LoanFactory.create_batch(4, member=ben)
    hold, book = await HoldFactory.create(member=ben), await BookFactory.create()
    return World(ann.id, ben.id, loans[0].id, hold.id, book.id)


@pytest.fixture
async def stranger(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """A client without a key."""
    async with client_of(app, key=None) as made:
        yield made


async def nothing(_database: Bound, _member: int) -> dict[str, str]:
    """No key."""
    return {}


async def unknown(_database: Bound, _member: int) -> dict[str, str]:
    """A key that looks like one."""
    return bearer(forged(ADMIN))


async def revoked(database: Bound, _member: int) -> dict[str, str]:
    """A key that could do everything, once."""
    token = await granted(database, "admin")
    async with database.writing() as unit:
        assert await keys.revoke(unit.session, token[6:14])
    return bearer(token)


async def expired(database: Bound, _member: int) -> dict[str, str]:
    """A key whose time is over."""
    return bearer(await granted(database, "admin", lasting=datetime.timedelta(microseconds=1)))


async def too_small(database: Bound, _member: int) -> dict[str, str]:
    """A key for something else."""
    return bearer(await granted(database, "events:read"))


async def elsewhere(database: Bound, _member: int) -> dict[str, str]:
    """A key that is confined by something that no table here knows."""
    return bearer(await granted(database, "admin", within={"branch": "Main"}))


async def anothers(database: Bound, member: int) -> dict[str, str]:
    """Another member's key."""
    return bearer(await granted(database, "admin", within={"member_id": str(member)}))


THIEVES: dict[Maker, int] = {
    nothing: 401,
    unknown: 401,
    revoked: 401,
    expired: 401,
    too_small: 403,
    elsewhere: 403,
    anothers: 404,
}
"""Who has no right -> what all of their requests for one row are answered."""
ASKED: list[tuple[str, str, Any]] = [
    ("GET", "/v1/loans/{loan}", None),
    ("HEAD", "/v1/loans/{loan}", None),
    ("GET", "/v1/loans/{loan}?fields=id&include=member", None),
    ("POST", "/v1/loans/{loan}:return", None),
    ("POST", "/v1/loans/{loan}:renew", None),
    ("GET", "/v1/holds/{hold}", None),
    ("DELETE", "/v1/holds/{hold}", None),
    ("GET", "/v1/members/{ben}", None),
    ("PATCH", "/v1/members/{ben}", {"name": "Benjamin"}),
    ("PATCH", "/v1/members/{ben}", {"name": None}),
    ("DELETE", "/v1/members/{ben}", None),
]
BOOKS: list[tuple[str, str, Any]] = [
    ("GET", "/v1/books/{book}", None),
    ("GET", "/v1/books/{book}/beside", None),
    ("GET", "/v1/books/{book}/availability", None),
    ("PATCH", "/v1/books/{book}", {"title": "x"}),
    ("DELETE", "/v1/books/{book}", None),
]


def told(answer: Response, *keys_of_rows: int) -> tuple[int, dict[str, str], str]:
    """All that an answer tells, but for what differs between any two and for the key that was asked for."""
    body = answer.text
    for key in (*keys_of_rows, NEVER):
        body = body.replace(f" {key} ", " it ")
    if answer.content:
        body = body.replace(answer.json()["instance"], "")
    return answer.status_code, {name: value for name, value in answer.headers.items() if name not in OWN}, body


@pytest.mark.parametrize("thief", THIEVES, ids=lambda thief: thief.__name__)
async def test_a_row_that_is_there_is_refused_like_one_that_never_was(
    stranger: AsyncClient, database: Bound, world: World, thief: Maker
) -> None:
    """Status, headers and body, word for word; and nothing was changed."""
    headers = await thief(database, world.ann) | {"If-Match": "*"}
    before = await everything(database)
    for method, path, body in [*ASKED, *(BOOKS if thief is not anothers else [])]:
        found = vars(world)
        there = await stranger.request(method, path.format(**found), json=body, headers=headers)
        never = await stranger.request(method, path.format_map(dict.fromkeys(found, NEVER)), json=body, headers=headers)
        assert told(there, *found.values()) == told(never), f"{method} {path}"
        wrong_body = body == {"name": None}
        assert there.status_code == (422 if wrong_body and thief is anothers else THIEVES[thief]), f"{method} {path}"
    assert await everything(database) == before


async def everything(database: Bound) -> list[str]:
    """All rows, as they are stored."""
    async with database.reading() as session:
        found: list[str] = []
        for table in ("books", "copies", "holds", "loans", "members"):
            found += (await session.scalars(text(f"SELECT t::text FROM {table} t ORDER BY id"))).all()
    return found


@pytest.mark.parametrize("thief", THIEVES, ids=lambda thief: thief.__name__)
async def test_a_list_that_holds_rows_is_refused_like_an_empty_one(
    stranger: AsyncClient, database: Bound, world: World, thief: Maker
) -> None:
    headers = await thief(database, world.ann)
    status = 403 if thief is anothers else THIEVES[thief]
    for path in ("/v1/loans?member_id={}", "/v1/holds?member_id={}", "/v1/loans?member_id={}&returned_at=null&count=capped"):
        full, empty = [await stranger.get(path.format(key), headers=headers) for key in (world.ben, NEVER)]
        assert full.status_code == status
        assert told(full, world.ben) == told(empty)


@pytest.mark.parametrize("thief", THIEVES, ids=lambda thief: thief.__name__)
async def test_a_stolen_cursor_opens_nothing(stranger: AsyncClient, database: Bound, world: World, thief: Maker) -> None:
    """It is refused like one that was made up, or the key is."""
    path = f"/v1/loans?limit=1&member_id={world.ben}"
    bens = bearer(await granted(database, "loans:read", within={"member_id": str(world.ben)}))
    stolen = [(await stranger.get(path, headers=one)).json()["next"] for one in (bens, bearer(ADMIN))]
    headers = await thief(database, world.ann)
    for asked in (f"/v1/loans?member_id={world.ann}", "/v1/loans?limit=1", path):
        answers = [await stranger.get(f"{asked}&cursor={cursor}", headers=headers) for cursor in (*stolen, invented(stolen[0]))]
        own = thief is anothers and asked != path
        assert [answer.status_code for answer in answers] == [422 if own else 403 if thief is anothers else THIEVES[thief]] * 3
        assert told(answers[0]) == told(answers[1]) == told(answers[2])


def invented(cursor: str) -> str:
    """A cursor of the same length that nobody was given."""
    return base64.urlsafe_b64encode(bytes(len(unpacked(cursor)))).decode().rstrip("=")


def unpacked(cursor: str) -> bytes:
    """The bytes of a cursor."""
    return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))


async def test_a_cursor_serves_every_key_that_may_ask_its_question(stranger: AsyncClient, database: Bound, world: World) -> None:
    """It opens no row that the key couldn't read anyway: it is bound to the rows that it leads through, not to a person."""
    path = f"/v1/loans?limit=1&member_id={world.ben}"
    given = (await stranger.get(path, headers=bearer(ADMIN))).json()["next"]
    other = bearer(await granted(database, "loans:read"))
    answer = await stranger.get(f"{path}&cursor={given}", headers=other)
    assert [row["member_id"] for row in answer.json()["data"]] == [world.ben]


def changed(cursor: str) -> set[str]:
    """A cursor with each bit of each byte turned over, and each character replaced; what spells the same bytes otherwise, too."""
    signed = unpacked(cursor)
    turned = (signed[:at] + bytes([signed[at] ^ 1 << bit]) + signed[at + 1 :] for at in range(len(signed)) for bit in range(8))
    spelled = {base64.urlsafe_b64encode(one).decode().rstrip("=") for one in turned}
    spelled |= {cursor[:at] + symbol + cursor[at + 1 :] for at in range(len(cursor)) for symbol in (*SYMBOLS[::9], SYMBOLS[-1])}
    spelled |= {cursor[:-1] + symbol for symbol in SYMBOLS} | {cursor[:at] for at in range(len(cursor))}
    return spelled - {cursor}


async def test_a_cursor_with_any_byte_changed_is_refused(client: AsyncClient, world: World, queries: Queries) -> None:
    """By the same words, wherever it was changed, and without asking the database."""
    path = f"/v1/loans?limit=1&member_id={world.ben}"
    cursor = (await client.get(path)).json()["next"]
    queries.clear()
    wrong, said = changed(cursor), set()
    assert len(wrong) > 8 * len(unpacked(cursor))
    for one in wrong:
        said.add(refused(await client.get(f"{path}&cursor={one}"), 422, "invalid-cursor")["detail"])
    assert len(said) == 2  # what can't be a cursor at all is told apart; where the signature fails isn't
    assert not queries.sent
    assert (await client.get(f"{path}&cursor={cursor}")).status_code == 200


async def test_a_cursor_holds_keys_of_the_order_and_nothing_else(client: AsyncClient, database: Bound, world: World) -> None:
    """Neither filters, nor the rows that a key is confined to, nor the key."""
    token = await granted(database, "loans:read", within={"member_id": str(world.ben)})
    cursor = (await client.get("/v1/loans?limit=1", headers=bearer(token))).json()["next"]
    content = unpacked(cursor)[16:]
    assert content.startswith(b"[")
    assert content.count(b",") == 2  # until when it is good, borrowed_at, id
    assert token[6:14].encode() not in content


async def test_one_url_tells_each_key_what_is_its_own(stranger: AsyncClient, database: Bound, world: World) -> None:
    """In turns, so that nothing that is kept for one is told to the other; and no cache between may mix them."""
    who = {key: await anothers(database, key) for key in (world.ann, world.ben)}
    for path in ("/v1/loans", "/v1/holds?count=capped", "/v1/members"):
        for key in (world.ann, world.ben) * 3:
            answer = await stranger.get(path, headers=who[key])
            assert {row.get("member_id", row["id"]) for row in answer.json()["data"]} <= {key}, path
            assert answer.headers["cache-control"] == "private, no-cache"
            assert "Authorization" in answer.headers["vary"]
        assert (await stranger.get(path)).status_code == 401


async def test_an_answer_kept_for_one_key_is_not_replayed_to_another(stranger: AsyncClient, database: Bound, world: World) -> None:
    """The same Idempotency-Key, the same body: each key's request is its own."""
    sent = {"email": "c@example.org", "name": "Cy"}
    once = {"Idempotency-Key": "guessed"}
    first = await stranger.post("/v1/members", json=sent, headers=bearer(ADMIN) | once)
    assert first.status_code == 201
    other = bearer(await granted(database, "members:write"))
    answers = [
        await stranger.post("/v1/members", json=sent, headers=headers | once)
        for headers in (other, await too_small(database, 0), await anothers(database, world.ann), {}, await revoked(database, 0))
    ]
    assert [answer.status_code for answer in answers] == [409, 403, 403, 401, 401]
    assert not any("Cy" in answer.text or "idempotency-replayed" in answer.headers for answer in answers)
    again = await stranger.post("/v1/members", json=sent, headers=bearer(ADMIN) | once)
    assert (again.status_code, again.json()) == (201, first.json())
