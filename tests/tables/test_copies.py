"""The copies' own verbs: new ones go to those who wait, and a copy stays a copy of its book."""

from httpx import AsyncClient

from service.db.bound import Bound
from service.tables.copies import Copies, Copy
from service.tables.holds import Holds
from tests.factories.books import BookFactory
from tests.factories.copies import CopyFactory
from tests.factories.holds import HoldFactory
from tests.fixtures.statements import Queries, ServedBy
from tests.http.conftest import refused


async def test_a_books_copies_on_the_shelf(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    copy = await CopyFactory.create()
    await CopyFactory.create(book=copy.book, status="lent")
    async with served_by("ix_copies_of_book"):
        answer = await client.get(f"/v1/copies?book_id={copy.book_id}&status=available&fields=id,branch,shelfmark")
    assert answer.json()["data"] == [{"id": copy.id, "branch": copy.branch, "shelfmark": copy.shelfmark}]


async def test_a_copy_by_its_barcode(database: Bound, served_by: ServedBy) -> None:
    copy = await CopyFactory.create()
    async with served_by("uq_copies_barcode"):
        found = await Copies(database).by_barcode(copy.barcode)
    assert found
    assert found.id == copy.id


def entered(book: int, barcode: str) -> dict[str, object]:
    """A new copy."""
    return {"book_id": book, "barcode": barcode, "branch": "Main", "shelfmark": "F"}


async def test_entering_a_copy_that_nobody_waits_for(client: AsyncClient, database: Bound, queries: Queries) -> None:
    book = await BookFactory.create()
    queries.clear()
    answer = await client.post("/v1/copies", json=entered(book.id, "A"))
    assert len(queries) == 3, str(queries)
    assert (answer.status_code, answer.json()["status"]) == (201, "available")


async def test_entering_many_serves_those_who_wait_in_their_order(client: AsyncClient, database: Bound) -> None:
    first, second = await BookFactory.create_batch(2)
    holds = await HoldFactory.create_batch(2, book=first)
    bodies = [entered(book, code) for book, code in ((second.id, "A"), (first.id, "B"), (first.id, "C"), (first.id, "D"))]
    rows = (await client.post("/v1/copies:batch", json={"data": bodies})).json()["data"]
    assert [row["status"] for row in rows] == ["available", "set_aside", "set_aside", "available"]
    found = await Holds(database).many([hold.id for hold in holds])
    assert [(hold.status, hold.copy_id) for hold in found] == [("ready", rows[1]["id"]), ("ready", rows[2]["id"])]


async def test_entering_what_is_wrong(client: AsyncClient, database: Bound) -> None:
    book = await BookFactory.create()
    await HoldFactory.create(book=book)
    assert refused(await client.post("/v1/copies", json=entered(10**9, "A")), 422, "value-refused")["fields"] == ["book_id"]
    twice = {"data": [entered(book.id, "A"), entered(book.id, "A")]}
    assert refused(await client.post("/v1/copies:batch", json=twice), 409, "conflict")["row"] == 1
    assert [hold.status for hold in await Holds(database).waiting(book.id)] == ["waiting"]


async def test_a_copy_stays_a_copy_of_its_book(client: AsyncClient, database: Bound) -> None:
    copy, other = await CopyFactory.create(), await BookFactory.create()
    path = f"/v1/copies/{copy.id}"
    assert refused(await client.patch(path, json={"book_id": other.id}), 409, "conflict")["fields"] == ["book_id"]
    assert (await client.patch(path, json={"book_id": copy.book_id, "branch": "South"})).status_code == 204
    found: Copy = await Copies(database).get(copy.id)
    assert (found.book_id, found.branch) == (copy.book_id, "South")


async def test_what_becomes_of_a_copy_is_not_a_clients_to_say(client: AsyncClient, database: Bound) -> None:
    copy = await CopyFactory.create()
    refused(await client.patch(f"/v1/copies/{copy.id}", json={"status": "lent"}), 422, "invalid-body")
    refused(await client.post("/v1/copies", json=entered(copy.book_id, "A") | {"status": "lent"}), 422, "invalid-body")
