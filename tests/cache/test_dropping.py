"""A write has forgotten what it changed, and nothing else, whichever way it was made."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import func, select, text, update

from service import schema
from service.cache.caching import Cache
from service.db import Database
from service.db.drops import drops
from service.settings import Settings
from service.tables.books import Book, Books
from tests.cache.asking import created, keep, still_kept
from tests.fixtures.jobs import worked_off
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("unhurried")


@pytest.fixture
async def authors(client: AsyncClient) -> list[int]:
    """Three authors with a book each."""
    made = [await created(client, "/v1/authors", name=name) for name in ("Ursula", "Octavia", "Joanna")]
    for author in made:
        await created(client, "/v1/books", title="Old", author_id=author, language=f"l{author}")
    return made


@pytest.fixture
async def book(client: AsyncClient, authors: list[int]) -> int:
    """The book of the first one."""
    return int((await client.get(f"/v1/books?author_id={authors[0]}")).json()["data"][0]["id"])


@pytest.fixture
async def paths(client: AsyncClient, authors: list[int], book: int) -> dict[str, str]:
    """All that is kept, by name."""
    other = (await client.get(f"/v1/books?author_id={authors[2]}")).json()["data"][0]["id"]
    made = {
        "row": f"/v1/books/{book}",
        "other row": f"/v1/books/{other}",
        "by id": f"/v1/books?id__in={book}",
        "other by id": f"/v1/books?id__in={other}",
        "its author's": f"/v1/books?author_id={authors[0]}",
        "its next author's": f"/v1/books?author_id={authors[1]}",
        "another author's": f"/v1/books?author_id={authors[2]}",
        "its language's": f"/v1/books?language=l{authors[0]}&sort=-ratings_count",
        "another language's": f"/v1/books?language=l{authors[2]}&sort=-ratings_count",
        "everything": "/v1/books",
        "its author": f"/v1/authors/{authors[0]}",
        "authors": "/v1/authors",
    }
    await keep(client, *made.values())
    return made


FILE, CSV = b"book_id,title,author\n1,New,Ursula\n", {"content-type": "text/csv"}
OTHERS = {"other row", "other by id", "another author's", "another language's", "its author", "authors"}


async def kept(client: AsyncClient, paths: dict[str, str]) -> set[str]:
    """What is still kept."""
    left = await still_kept(client, *paths.values())
    return {name for name, path in paths.items() if path in left}


async def test_one_statement_changes(client: AsyncClient, paths: dict[str, str], book: int) -> None:
    assert (await client.patch(f"/v1/books/{book}", json={"title": "New"})).status_code == 204
    assert await kept(client, paths) == OTHERS | {"its next author's"}


async def test_one_statement_moves(client: AsyncClient, paths: dict[str, str], book: int, authors: list[int]) -> None:
    assert (await client.patch(f"/v1/books/{book}", json={"author_id": authors[1]})).status_code == 204
    assert await kept(client, paths) == OTHERS


async def test_one_statement_deletes(client: AsyncClient, paths: dict[str, str], book: int) -> None:
    assert (await client.delete(f"/v1/books/{book}")).status_code == 204
    assert await kept(client, paths) == OTHERS | {"its next author's"}


async def test_one_statement_creates(client: AsyncClient, paths: dict[str, str], authors: list[int]) -> None:
    await created(client, "/v1/books", title="Two", author_id=authors[0])
    left = {"row", "by id", "its language's", "its next author's"}
    assert await kept(client, paths) == OTHERS | left


async def test_one_statement_creates_once(client: AsyncClient, paths: dict[str, str], authors: list[int]) -> None:
    made = await client.post("/v1/books", json={"title": "Two", "author_id": authors[0]}, headers={"Idempotency-Key": "a" * 20})
    assert made.status_code == 201
    assert "its author's" not in await kept(client, paths)


async def test_a_batch(client: AsyncClient, paths: dict[str, str], authors: list[int]) -> None:
    assert (await client.post("/v1/books:batch", json={"data": [{"title": "T", "author_id": authors[0]}]})).status_code == 201
    assert await kept(client, paths) == OTHERS | {"row", "by id", "its language's", "its next author's"}


async def test_a_unit_of_work(
    client: AsyncClient, paths: dict[str, str], committed: Database, book: int, authors: list[int]
) -> None:
    await Books(committed).change(book, author_id=authors[1])
    assert await kept(client, paths) == OTHERS


async def test_a_deletion_in_a_unit_of_work(client: AsyncClient, paths: dict[str, str], committed: Database, book: int) -> None:
    await Books(committed).delete(book)
    assert await kept(client, paths) == OTHERS | {"its next author's"}


@pytest.mark.parametrize("way", ["one statement", "a repository", "an object"])
async def test_a_row_that_is_given_another_key(
    client: AsyncClient, app: FastAPI, paths: dict[str, str], book: int, way: str
) -> None:
    committed: Database = app.state.service.database
    moved = f"/v1/books/{book + 1000}"
    assert (await client.get(moved)).status_code == 404
    if way == "one statement":
        assert await schema.tables_served()["books"].writer_of(app.state.service).change(book, {"id": book + 1000})
    elif way == "a repository":
        await Books(committed).change(book, id=book + 1000)
    else:
        await _renumbered(committed, book, book + 1000)
    left = await kept(client, paths)
    assert not {"row", "by id", "its author's", "everything"} & left
    assert left >= (OTHERS if way != "an object" else {"its author", "authors"})
    assert (await client.get(paths["row"])).status_code == 404
    assert (await client.get(moved)).json()["id"] == book + 1000


async def _renumbered(database: Database, key: int, to: int) -> None:
    async with database.writing() as unit:
        found = await unit.session.get(Book, key)
        assert found
        found.id = to


async def test_a_statement_of_ones_own(client: AsyncClient, paths: dict[str, str], committed: Database, book: int) -> None:
    """Nobody knows which rows it changed, so the whole table is forgotten, and no other."""
    async with committed.writing() as unit:
        await unit.session.execute(update(Book).where(Book.id == book).values(title="New"))
    assert await kept(client, paths) == {"its author", "authors"}


async def test_text(client: AsyncClient, paths: dict[str, str], committed: Database) -> None:
    async with committed.writing() as unit:
        await unit.session.execute(text("SELECT count(*) FROM books"))
    assert await kept(client, paths) == set(paths)
    async with committed.writing() as unit:
        await unit.session.execute(text("WITH a AS (UPDATE books SET title = 'New' RETURNING id) SELECT count(*) FROM a"))
    assert await kept(client, paths) == {"its author", "authors"}


async def test_objects(client: AsyncClient, paths: dict[str, str], committed: Database, book: int) -> None:
    async with committed.writing() as unit:
        found = await unit.session.get(Book, book)
        assert found
        found.title = "New"
    assert await kept(client, paths) == {"its author", "authors"}


async def test_an_upsert(client: AsyncClient, paths: dict[str, str], committed: Database, authors: list[int]) -> None:
    row = {"title": "T", "author_id": authors[0], "source": "s", "source_key": "k"}
    await Books(committed).upsert([row], on=Book.unique_source)
    assert await kept(client, paths) == {"its author", "authors"}


async def test_an_import(client: AsyncClient, paths: dict[str, str], committed: Database, settings: Settings) -> None:
    """Once the job is done, nothing is left of the tables that it wrote, though nobody has heeded its notes."""
    assert (await client.post("/v1/books:import?source=s&dry_run=true", content=FILE, headers=CSV)).status_code == 202
    await worked_off(committed, settings)
    assert await kept(client, paths) == set(paths)
    assert (await client.post("/v1/books:import?source=s", content=FILE, headers=CSV)).status_code == 202
    assert [ran.outcome for ran in await worked_off(committed, settings)] == ["done"]
    assert await kept(client, paths) == set()


async def test_nothing_is_forgotten_of_what_is_rolled_back(
    client: AsyncClient, paths: dict[str, str], committed: Database, book: int
) -> None:
    books = Books(committed)

    async def broken() -> None:
        async with committed.writing():
            await books.change(book, title="New")
            raise LookupError

    await until(lambda: _none(committed))  # of what the fixtures wrote
    with pytest.raises(LookupError):
        await broken()
    assert (await client.patch(f"/v1/books/{book}", json={"author_id": 10**9})).status_code == 422
    assert await kept(client, paths) == set(paths)
    assert await notes(committed) == 0


async def test_more_rows_than_are_counted(client: AsyncClient, paths: dict[str, str], cache: Cache, authors: list[int]) -> None:
    before = cache.dropping.dropped
    rows = [{"title": "T", "author_id": authors[0]} for _ in range(1000)]
    assert (await client.post("/v1/books:batch", json={"data": rows})).status_code == 201
    assert "its author's" not in await kept(client, paths)
    assert cache.dropping.dropped - before < 20


async def test_notes_are_taken_away(client: AsyncClient, committed: Database, book: int) -> None:
    await asyncio.gather(*(client.patch(f"/v1/books/{book}", json={"title": f"{number}"}) for number in range(20)))
    await until(lambda: _none(committed))


async def notes(database: Database) -> int:
    """How many there are."""
    async with database.reading() as session:
        return int(await session.scalar(select(func.count()).select_from(drops)) or 0)


async def _none(database: Database) -> bool:
    return await notes(database) == 0
