"""What is remembered of questions is bounded, and belongs to one application; what PostgreSQL can't write is left alone."""

import uuid
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from sqlalchemy import Index, MetaData, Uuid
from sqlalchemy.orm import Mapped, mapped_column

from service.contract.cursor import Signer
from service.db import Model, Repository, surface
from service.db.bound import Bound
from service.http import problems, reading, serve
from service.http.reading import Reader, kept, lacking, link
from service.http.schema import Schema
from service.http.serve import Routes
from service.http.showing import Showing
from service.http.uses import Service
from service.settings import Settings
from service.tables.books import Book
from tests.db.kinds import Kind, KindRead
from tests.factories.books import BookFactory
from tests.fixtures.application import client_of, knowing
from tests.http.conftest import refused

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


# UUIDs, whether Python has them as such or as text.


class Apart(Model):
    """Tables of this file alone."""

    __abstract__ = True
    metadata = MetaData()


class Tag(Apart):
    """A row with UUIDs."""

    __tablename__ = "tags"
    key: Mapped[uuid.UUID] = mapped_column(primary_key=True)
    owner: Mapped[uuid.UUID] = mapped_column()
    by_owner = Index("ix_tags_owner", owner, key)


class Label(Apart):
    """A row with UUIDs as text."""

    __tablename__ = "labels"
    key: Mapped[str] = mapped_column(Uuid(as_uuid=False), primary_key=True)
    owner: Mapped[str] = mapped_column(Uuid(as_uuid=False))
    by_owner = Index("ix_labels_owner", owner, key)


class Named(Schema):
    """As clients see it."""

    key: uuid.UUID
    owner: uuid.UUID


class Written(Schema):
    """The same, as text."""

    key: str
    owner: str


class Tags(Repository[Tag]):
    """Those with UUIDs."""


class Labels(Repository[Label]):
    """Those with text."""


def served() -> list[Routes]:
    """One table of each."""
    return [serve(Tags, at="/tags", read=Named, write=Named), serve(Labels, at="/labels", read=Written, write=Written)]


@pytest.mark.parametrize("table", ["tags", "labels"])
async def test_rows_are_found_by_uuids(settings: Settings, database: Bound, table: str) -> None:
    async with database.writing() as unit:
        await (await unit.session.connection()).run_sync(Apart.metadata.create_all)
    app = FastAPI()
    app.state.service = Service(settings, database, Signer(settings.signing(), settings.cursor_seconds), None, None)
    problems.install(app)
    for router in served():
        router.settle()
        app.include_router(router, prefix="/v1")
    rows: list[dict[str, Any]] = [{"key": str(uuid.uuid4()), "owner": str(uuid.uuid4())} for _ in range(2)]
    async with client_of(knowing(app, settings, database)) as client:
        for row in rows:
            assert (await client.post(f"/v1/{table}", json=row)).status_code == 201
        for key, owner in ((rows[0]["key"], rows[0]["owner"]), (rows[0]["key"].upper(), rows[0]["owner"].upper())):
            assert (await client.get(f"/v1/{table}/{key}")).json() == rows[0]
            assert (await client.get(f"/v1/{table}/{key}?fields=owner")).json() == {"owner": rows[0]["owner"]}
            for question in (f"key__in={key}", f"owner={owner}"):
                found = await client.get(f"/v1/{table}?{question}")
                assert found.status_code == 200, found.text
                assert found.json()["data"] == [rows[0]]
        gone = str(uuid.uuid4())
        problem = refused(await client.get(f"/v1/{table}/{gone}"), 404, "not-found")
        assert problem["detail"] == f"There is no '{gone}' in {table}. It may have been deleted."
        refused(await client.get(f"/v1/{table}?owner=1"), 422, "invalid-question")
