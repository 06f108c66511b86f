"""The desk's routes: each act as a client sees it, what it costs, why it is refused and what is offered instead."""

import datetime
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from httpx import AsyncClient, Response

from service.db.bound import Bound
from service.tables.copies import Copies, Copy
from service.tables.events import Events
from service.tables.lending import Lending
from service.tables.rules import LendingRules
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.keys import bearer, granted
from tests.fixtures.statements import Queries
from tests.http.conftest import refused

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "lending.md"
LATER = datetime.datetime(2100, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
async def copy(database: Bound) -> Copy:
    """A copy on the shelf."""
    return await CopyFactory.create()


async def new_member(_database: Any = None) -> int:
    """Somebody who may borrow; their id."""
    return (await MemberFactory.create()).id


async def borrow(client: AsyncClient, member: int, **what: Any) -> Response:
    """Ask for a loan."""
    return await client.post("/v1/loans", json={"member_id": member, **what})


async def place(client: AsyncClient, member: int, book: int) -> Response:
    """Ask for a hold."""
    return await client.post("/v1/holds", json={"member_id": member, "book_id": book})


async def renew(client: AsyncClient, loan: int, etag: str = "*") -> Response:
    """Ask for more time."""
    return await client.post(f"/v1/loans/{loan}:renew", headers={"If-Match": etag})


async def kinds(database: Bound, subject: str) -> list[str]:
    """What happened to something, the latest first."""
    return [event.kind for event in await Events(database).about(subject)]


async def status(client: AsyncClient, copy: Copy) -> str:
    """What became of a copy."""
    return str((await client.get(f"/v1/copies/{copy.id}")).json()["status"])


async def test_borrow_by_book(client: AsyncClient, copy: Copy, database: Bound, queries: Queries) -> None:
    member = await new_member()
    queries.clear()
    answer = await borrow(client, member, book_id=copy.book_id)
    assert len(queries) == 6, str(queries)
    loan = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/loans/{loan['id']}")
    assert (loan["copy_id"], loan["member_id"], loan["returned_at"], loan["renewals"]) == (copy.id, member, None, 0)
    days = datetime.date.fromisoformat(loan["due_on"]) - datetime.datetime.fromisoformat(loan["borrowed_at"]).date()
    assert days == datetime.timedelta(days=28)
    assert (await client.get(answer.headers["location"])).json() == loan
    assert await status(client, copy) == "lent"
    assert await kinds(database, f"loans/{loan['id']}") == ["loan.opened"]


async def test_borrow_by_barcode(client: AsyncClient, copy: Copy, queries: Queries) -> None:
    await CopyFactory.create(book=copy.book)
    member = await new_member()
    queries.clear()
    answer = await borrow(client, member, barcode=copy.barcode)
    assert len(queries) == 6, str(queries)
    assert (answer.status_code, answer.json()["copy_id"]) == (201, copy.id)


@pytest.mark.parametrize("what", [{}, {"book_id": 1, "barcode": "C1"}])
async def test_a_loan_is_for_a_book_or_for_a_barcode(client: AsyncClient, what: dict[str, Any]) -> None:
    assert "send a book_id" in refused(await borrow(client, 1, **what), 422, "invalid-body")["detail"]


@pytest.mark.parametrize("member", [0, -1, 2**63, "x", None])
async def test_what_can_be_no_key_is_refused_by_name(client: AsyncClient, member: Any, queries: Queries) -> None:
    problem = refused(await client.post("/v1/loans", json={"member_id": member, "book_id": 1}), 422, "invalid-body")
    assert problem["errors"][0]["member"] == "member_id"
    assert len(queries) == 0


async def test_who_and_what_must_exist(client: AsyncClient, copy: Copy) -> None:
    member = await new_member()
    asked: list[tuple[str, dict[str, Any], str]] = [
        ("loans", {"member_id": 10**9, "book_id": copy.book_id}, "member_id"),
        ("loans", {"member_id": member, "book_id": 10**9}, "book_id"),
        ("loans", {"member_id": member, "barcode": "nothing"}, "barcode"),
        ("holds", {"member_id": 10**9, "book_id": copy.book_id}, "member_id"),
        ("holds", {"member_id": member, "book_id": 10**9}, "book_id"),
    ]
    for where, body, wrong in asked:
        problem = refused(await client.post(f"/v1/{where}", json=body), 422, "value-refused")
        assert problem["fields"] == [wrong]
    assert await status(client, copy) == "available"


@pytest.mark.parametrize("barcode", ["\0", "x\0y", "\ud800"])
async def test_a_barcode_that_is_no_text(client: AsyncClient, barcode: str) -> None:
    member = await new_member()
    body = json.dumps({"member_id": member, "barcode": barcode})
    answer = await client.post("/v1/loans", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422


async def test_no_copy_is_free(client: AsyncClient, database: Bound) -> None:
    lent = await LoanFactory.create()
    member = await new_member()
    book = lent.copy.book_id
    problem = refused(await borrow(client, member, book_id=book), 409, "conflict")
    assert (problem["reason"], problem["offer"]["hold"]) == ("no-copy-free", "POST /v1/holds")
    assert (await client.get(problem["offer"]["availability"].removeprefix("GET "))).status_code == 200
    problem = refused(await borrow(client, member, barcode=lent.copy.barcode), 409, "conflict")
    assert (problem["reason"], "is lent" in problem["detail"]) == ("lent", True)


async def test_a_withdrawn_copy_is_not_lent(client: AsyncClient, database: Bound) -> None:
    copy = await CopyFactory.create(status="withdrawn")
    member = await new_member()
    assert refused(await borrow(client, member, book_id=copy.book_id), 409, "conflict")["reason"] == "no-copy-free"
    assert refused(await borrow(client, member, barcode=copy.barcode), 409, "conflict")["reason"] == "withdrawn"


async def test_as_many_loans_as_one_may_have(client: AsyncClient, copy: Copy) -> None:
    member = await MemberFactory.create()
    await LoanFactory.create_batch(10, member=member)
    problem = refused(await borrow(client, member.id, book_id=copy.book_id), 409, "conflict")
    assert problem["reason"] == "too-many-loans"
    theirs = await client.get(problem["offer"]["loans"].removeprefix("GET "))
    assert len(theirs.json()["data"]) == 10
    await client.post(f"/v1/loans/{theirs.json()['data'][0]['id']}:return")
    assert (await borrow(client, member.id, book_id=copy.book_id)).status_code == 201


async def test_return_puts_the_copy_on_the_shelf(client: AsyncClient, copy: Copy, database: Bound, queries: Queries) -> None:
    loan = (await borrow(client, await new_member(), book_id=copy.book_id)).json()
    queries.clear()
    answer = await client.post(f"/v1/loans/{loan['id']}:return")
    assert len(queries) == 5, str(queries)
    assert (answer.status_code, answer.json()["hold"]) == (200, None)
    assert answer.json()["loan"]["returned_at"]
    assert await status(client, copy) == "available"
    assert await kinds(database, f"loans/{loan['id']}") == ["loan.returned", "loan.opened"]


async def test_who_may_not_see_holds_is_not_told_of_them(client: AsyncClient, copy: Copy, database: Bound) -> None:
    loan = (await borrow(client, await new_member(), book_id=copy.book_id)).json()
    await place(client, await new_member(), copy.book_id)
    returning = bearer(await granted(database, "loans:write"))
    answer = await client.post(f"/v1/loans/{loan['id']}:return", headers=returning)
    assert (answer.status_code, answer.json()["hold"]) == (200, None)
    assert await status(client, copy) == "set_aside"


async def test_return_sets_the_copy_aside_for_the_first_in_line(client: AsyncClient, copy: Copy, database: Bound) -> None:
    reader, first, second = [await new_member() for _ in range(3)]
    loan = (await borrow(client, reader, book_id=copy.book_id)).json()
    holds = [(await place(client, member, copy.book_id)).json() for member in (first, second)]
    assert [(hold["status"], hold["place"]) for hold in holds] == [("waiting", 1), ("waiting", 2)]
    hold = (await client.post(f"/v1/loans/{loan['id']}:return")).json()["hold"]
    assert (hold["id"], hold["member_id"], hold["copy_id"], hold["status"]) == (holds[0]["id"], first, copy.id, "ready")
    ready, until = (datetime.datetime.fromisoformat(hold[name]) for name in ("ready_at", "expires_at"))
    assert datetime.timedelta(days=7) <= until - ready < datetime.timedelta(days=7, seconds=1)
    assert await status(client, copy) == "set_aside"
    for member in (reader, second):
        assert refused(await borrow(client, member, book_id=copy.book_id), 409, "conflict")["reason"] == "no-copy-free"
        assert refused(await borrow(client, member, barcode=copy.barcode), 409, "conflict")["reason"] == "set-aside"
    assert (await borrow(client, first, book_id=copy.book_id)).json()["copy_id"] == copy.id
    assert await kinds(database, f"holds/{hold['id']}") == ["hold.fulfilled", "hold.ready", "hold.placed"]
    assert (await client.get(f"/v1/holds/{hold['id']}")).json()["status"] == "fulfilled"


async def test_what_is_set_aside_is_lent_by_its_barcode_too(client: AsyncClient, copy: Copy, queries: Queries) -> None:
    member = await new_member()
    assert (await place(client, member, copy.book_id)).json()["status"] == "ready"
    other = await CopyFactory.create(book=copy.book)
    problem = refused(await borrow(client, member, barcode=other.barcode), 409, "conflict")
    assert (problem["reason"], problem["barcode"]) == ("another-copy-set-aside", copy.barcode)
    queries.clear()
    assert (await borrow(client, member, barcode=copy.barcode)).json()["copy_id"] == copy.id
    assert len(queries) == 6, str(queries)


async def test_a_loan_is_returned_once(client: AsyncClient, copy: Copy) -> None:
    loan = (await borrow(client, await new_member(), book_id=copy.book_id)).json()
    await client.post(f"/v1/loans/{loan['id']}:return")
    for act in ("return", "renew"):
        answer = await client.post(f"/v1/loans/{loan['id']}:{act}", headers={"If-Match": "*"})
        problem = refused(answer, 409, "conflict")
        assert (problem["reason"], problem["returned_at"][:10] in problem["detail"]) == ("returned", True)


@pytest.mark.parametrize("path", ["loans/7:return", "loans/7:renew", "holds/7"])
async def test_an_act_on_what_is_not_there(client: AsyncClient, path: str) -> None:
    method = "DELETE" if "holds" in path else "POST"
    client.headers["If-Match"] = "*"
    refused(await client.request(method, f"/v1/{path}"), 404, "not-found")
    for wrong in ("x", "0", str(2**63)):
        refused(await client.request(method, f"/v1/{path}".replace("7", wrong)), 422, "invalid-question")


async def test_renew(client: AsyncClient, copy: Copy, database: Bound, queries: Queries) -> None:
    answer = await borrow(client, await new_member(), book_id=copy.book_id)
    loan = answer.json()
    due = datetime.date.fromisoformat(loan["due_on"])
    for times in (1, 2):
        queries.clear()
        answer = await renew(client, loan["id"], answer.headers["etag"])
        assert len(queries) == 3, str(queries)
        assert (answer.status_code, answer.json()["renewals"]) == (200, times)
        assert answer.json()["due_on"] == str(due + datetime.timedelta(days=28 * times))
    problem = refused(await renew(client, loan["id"], answer.headers["etag"]), 409, "conflict")
    assert (problem["reason"], problem["offer"]) == ("renewed-often-enough", {"return": f"POST /v1/loans/{loan['id']}:return"})
    assert await kinds(database, f"loans/{loan['id']}") == ["loan.renewed", "loan.renewed", "loan.opened"]


async def test_an_overdue_loan_is_renewed_from_today(client: AsyncClient, database: Bound) -> None:
    loan = await LoanFactory.create(due_on=datetime.date(2020, 1, 1))
    due = (await renew(client, loan.id)).json()["due_on"]
    ahead = datetime.date.fromisoformat(due) - datetime.datetime.now(datetime.UTC).date()
    assert abs(ahead.days - 28) <= 1  # midnight may pass in between


async def test_no_renewal_while_somebody_waits(client: AsyncClient, copy: Copy) -> None:
    loan = (await borrow(client, await new_member(), book_id=copy.book_id)).json()
    hold = (await place(client, await new_member(), copy.book_id)).json()
    assert refused(await renew(client, loan["id"]), 409, "conflict")["reason"] == "somebody-waits"
    await client.delete(f"/v1/holds/{hold['id']}")
    assert (await renew(client, loan["id"])).status_code == 200


async def test_a_renewal_sent_twice_is_done_once(client: AsyncClient, copy: Copy) -> None:
    answer = await borrow(client, await new_member(), book_id=copy.book_id)
    loan, first = f"/v1/loans/{answer.json()['id']}", answer.headers["etag"]
    refused(await client.post(f"{loan}:renew"), 428, "precondition-required")
    renewed = await renew(client, answer.json()["id"], first)
    assert renewed.status_code == 200
    refused(await renew(client, answer.json()["id"], first), 412, "precondition-failed")
    now = await client.get(loan)
    assert (now.json()["renewals"], now.headers["etag"]) == (1, renewed.headers["etag"])


async def test_an_act_may_say_which_state_it_is_meant_for(client: AsyncClient, copy: Copy) -> None:
    loan = await borrow(client, await new_member(), book_id=copy.book_id)
    hold = await place(client, await new_member(), copy.book_id)
    renewed = await client.get(f"/v1/holds/{hold.json()['id']}")
    assert renewed.headers["etag"] == hold.headers["etag"]
    for method, url, etag, status_code in (
        ("DELETE", f"/v1/holds/{hold.json()['id']}", loan.headers["etag"], 412),
        ("DELETE", f"/v1/holds/{hold.json()['id']}", hold.headers["etag"], 204),
        ("POST", f"/v1/loans/{loan.json()['id']}:return", hold.headers["etag"], 412),
        ("POST", f"/v1/loans/{loan.json()['id']}:return", loan.headers["etag"], 200),
    ):
        assert (await client.request(method, url, headers={"If-Match": etag})).status_code == status_code


async def test_a_hold_for_a_book_on_the_shelf_is_ready_at_once(
    client: AsyncClient, copy: Copy, database: Bound, queries: Queries
) -> None:
    member = await new_member()
    queries.clear()
    answer = await place(client, member, copy.book_id)
    assert len(queries) == 7, str(queries)
    hold = answer.json()
    assert (answer.status_code, answer.headers["location"]) == (201, f"/v1/holds/{hold['id']}")
    assert (hold["status"], hold["copy_id"], hold["place"]) == ("ready", copy.id, None)
    assert await kinds(database, f"holds/{hold['id']}") == ["hold.ready", "hold.placed"]
    assert {name: value for name, value in hold.items() if name != "place"} == (await client.get(answer.headers["location"])).json()


async def test_nobody_holds_a_book_twice_or_while_they_have_it(client: AsyncClient, copy: Copy) -> None:
    member, other = await new_member(), await new_member()
    loan = (await borrow(client, member, book_id=copy.book_id)).json()
    problem = refused(await place(client, member, copy.book_id), 409, "conflict")
    assert (problem["reason"], problem["offer"]["renew"]) == ("on-loan", f"POST /v1/loans/{loan['id']}:renew")
    hold = (await place(client, other, copy.book_id)).json()
    problem = refused(await place(client, other, copy.book_id), 409, "conflict")
    assert (problem["reason"], problem["offer"]) == ("held", {"hold": f"GET /v1/holds/{hold['id']}"})
    await client.post(f"/v1/loans/{loan['id']}:return")
    problem = refused(await place(client, other, copy.book_id), 409, "conflict")
    assert (problem["reason"], problem["offer"]) == ("held", {"loan": "POST /v1/loans"})


async def test_cancelling_passes_the_copy_on(client: AsyncClient, copy: Copy, database: Bound, queries: Queries) -> None:
    first, second = [(await place(client, await new_member(), copy.book_id)).json() for _ in range(2)]
    queries.clear()
    answer = await client.delete(f"/v1/holds/{first['id']}")
    assert len(queries) == 5, str(queries)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await client.get(f"/v1/holds/{second['id']}")).json()["status"] == "ready"
    assert await status(client, copy) == "set_aside"
    assert (await client.delete(f"/v1/holds/{second['id']}")).status_code == 204
    assert await status(client, copy) == "available"
    assert await kinds(database, f"holds/{second['id']}") == ["hold.cancelled", "hold.ready", "hold.placed"]


async def test_cancelling_one_who_waits_leaves_the_copies_alone(client: AsyncClient, copy: Copy, queries: Queries) -> None:
    await borrow(client, await new_member(), book_id=copy.book_id)
    hold = (await place(client, await new_member(), copy.book_id)).json()
    queries.clear()
    assert (await client.delete(f"/v1/holds/{hold['id']}")).status_code == 204
    assert len(queries) == 3, str(queries)
    problem = refused(await client.delete(f"/v1/holds/{hold['id']}"), 409, "conflict")
    assert (problem["reason"], problem["offer"]) == ("cancelled", {"hold": "POST /v1/holds"})


async def test_holds_expire(client: AsyncClient, copy: Copy, database: Bound) -> None:
    first, second = [(await place(client, await new_member(), copy.book_id)).json() for _ in range(2)]
    lending = Lending(database, LendingRules.model_construct())
    assert await lending.expire_holds(datetime.datetime.now(datetime.UTC)) == 0
    soon = datetime.datetime.fromisoformat(first["expires_at"])
    assert await lending.expire_holds(soon) == 1
    found = [(await client.get(f"/v1/holds/{hold['id']}")).json()["status"] for hold in (first, second)]
    assert found == ["expired", "ready"]
    assert await kinds(database, f"holds/{first['id']}") == ["hold.expired", "hold.ready", "hold.placed"]
    assert await lending.expire_holds(LATER) == 1
    assert await status(client, copy) == "available"


async def test_a_new_copy_goes_to_who_waits(client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create()
    hold = (await place(client, await new_member(), book.id)).json()
    body = {"book_id": book.id, "branch": "Main", "shelfmark": "F 1"}
    first, second = [(await client.post("/v1/copies", json=body | {"barcode": code})).json() for code in "AB"]
    assert (first["status"], second["status"]) == ("set_aside", "available")
    assert (await client.get(f"/v1/holds/{hold['id']}")).json()["copy_id"] == first["id"]


Act = Callable[[Lending], Awaitable[Any]]


async def test_rules_are_kept(database: Bound) -> None:
    lending = Lending(database, LendingRules.model_construct(loans_most=1, loan_days=3, renewals_most=0, hold_days=1))
    one, two = await CopyFactory.create_batch(2)
    member = await new_member()
    loan = await lending.borrow(member, book_id=one.book_id)
    assert (loan.due_on - loan.borrowed_at.date()).days == 3
    hold = (await lending.place(member, two.book_id)).hold
    assert hold.ready_at
    assert hold.expires_at
    assert (hold.expires_at - hold.ready_at).days == 1
    acts: dict[str, Act] = {
        "too-many-loans": lambda desk: desk.borrow(member, book_id=two.book_id),
        "renewed-often-enough": lambda desk: desk.renew(loan.id),
    }
    for reason, act in acts.items():
        with pytest.raises(Exception, match=r"one may have|may be 0 times") as caught:
            await act(lending)
        assert caught.value.extra["reason"] == reason  # type: ignore[attr-defined]


async def test_what_has_a_history_is_not_deleted(client: AsyncClient, database: Bound) -> None:
    loan = await LoanFactory.create()
    hold = await HoldFactory.create()
    for path in (f"copies/{loan.copy_id}", f"members/{loan.member_id}", f"members/{hold.member_id}", f"books/{hold.book_id}"):
        assert "still refer to it" in refused(await client.delete(f"/v1/{path}"), 409, "conflict")["detail"]
    assert (await client.delete(f"/v1/copies/{(await CopyFactory.create()).id}")).status_code == 204
    assert (await client.delete(f"/v1/members/{await new_member()}")).status_code == 204


async def test_the_rules_reach_the_copies_routes(database: Bound) -> None:
    book = await BookFactory.create()
    lending = Lending(database, LendingRules.model_construct(hold_days=2))
    hold = (await lending.place(await new_member(), book.id)).hold
    await Copies(database, lending.rules).create(book_id=book.id, barcode="A", branch="Main", shelfmark="F")
    found = await lending.holds.get(hold.id)
    assert found.ready_at
    assert found.expires_at
    assert (found.expires_at - found.ready_at).days == 2


async def test_the_questions_of_the_guide_are_served(client: AsyncClient) -> None:
    asked = re.findall(r"^\| [^|]+ \| `(/v1/[^`]+)` \|$", GUIDE.read_text(), re.MULTILINE)
    assert len(asked) >= 10
    assert {path: (await client.get(path)).status_code for path in asked} == dict.fromkeys(asked, 200)
