"""What is remembered of questions is bounded, and belongs to one application; what PostgreSQL can't write is left alone."""

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from service.db import surface
from service.http import reading
from service.http.reading import Reader, kept, lacking, link
from service.http.schema import Schema
from service.http.showing import Showing
from service.tables.books import Book
from tests.db.kinds import Kind, KindRead
from tests.factories.books import BookFactory

BOOKS = "/v1/books"


def reader(app: FastAPI) -> Reader:
    """What has read the books."""
    found: Reader = app.state.service.readers["books"]
    return found


async def test_a_shape_is_worked_out_once(app: FastAPI, client: AsyncClient) -> None:
    for author in range(5):
        await client.get(BOOKS, params={"author_id": author})
    forms = reader(app)._forms  # noqa: SLF001  # nothing else shows that it is remembered
    assert len(forms) == 1
    await client.get(BOOKS, params={"author_id": 1, "limit": 7})
    assert len(forms) == 2


async def test_what_is_refused_is_not_remembered(app: FastAPI, client: AsyncClient) -> None:
    await client.get(BOOKS, params={"ratings_count": 7})
    await client.get(BOOKS, params={"author_id": "x"})
    await client.get(BOOKS, params={"title__icontains": "abc"})
    await client.get(BOOKS, params={"include": "author"})
    assert not reader(app)._forms  # noqa: SLF001  # likewise


async def test_what_is_remembered_is_bounded(app: FastAPI, client: AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FORMS_MOST", 3)
    book = await BookFactory.create()
    for limit in range(1, 8):
        assert len((await client.get(BOOKS, params={"limit": limit})).json()["data"]) == 1
        assert len(reader(app)._forms) <= 3  # noqa: SLF001  # likewise
    for fields in ("id", "title", "id,title", "title,id", "language", "isbn13"):
        assert set((await client.get(f"{BOOKS}/{book.id}", params={"fields": fields})).json()) == set(fields.split(","))
        assert len(reader(app).rows) <= 3


def test_the_oldest_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "FORMS_MOST", 2)
    held: dict[int, int] = {}
    for number in range(4):
        kept(held, number, number)
    assert list(held) == [2, 3]


class Other(Schema):
    """A shape with a member that is no column."""

    id: int  # a table's key is called id
    length: int = 0


def test_why_a_table_is_not_read_here() -> None:
    assert "Other is worked out in Python" in str(lacking(surface(Book), Showing.of(Book, Other, {})))
    assert "is of a type that PostgreSQL doesn't write" in str(lacking(surface(Kind), Showing.of(Kind, KindRead, {})))


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", "cursor=new"),
        (b"cursor=old", "cursor=new"),
        (b"a=%C3%A9&cursor=old&b=1+2", "a=%C3%A9&b=1+2&cursor=new"),
        (b"%63ursor=old&a=1", "a=1&cursor=new"),
        (b"&&a=1&", "a=1&cursor=new"),
    ],
)
def test_a_link_keeps_the_clients_own_spelling(query: bytes, expected: str) -> None:
    assert link("/v1/books", query, "new") == {"Link": f'</v1/books?{expected}>; rel="next"'}
