"""What a unit of work writes is told to caches once it is committed, whoever sent it."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Sequence

import pytest
from sqlalchemy import (
    DDL,
    Column,
    Executable,
    ForeignKey,
    Identity,
    MetaData,
    Table,
    Text,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy import Sequence as Numbers
from sqlalchemy.orm import Mapped, Session, aliased, class_mapper, mapped_column, relationship

from service.db.bound import Bound
from service.db.drops import Change, drops
from service.db.model import Model
from service.db.unit import Unit
from service.tables.authors import Author
from service.tables.books import Book, Books
from service.tables.members import Member
from tests.factories.authors import AuthorFactory
from tests.factories.books import BookFactory

ALL = [Change("books")]


class Apart(Model):
    """Tables of this file alone."""

    __abstract__ = True
    metadata = MetaData()


class Tag(Apart):
    """What hangs on shelves."""

    __tablename__ = "tags"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)


class Thing(Apart):
    """What stands on one shelf, or is no more."""

    __tablename__ = "things"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    shelf_id: Mapped[int] = mapped_column(ForeignKey("shelves.id"))


TAGGINGS = Table("taggings", Apart.metadata, Column("shelf_id", ForeignKey("shelves.id")), Column("tag_id", ForeignKey("tags.id")))


class Shelf(Apart):
    """What has both."""

    __tablename__ = "shelves"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    things: Mapped[list[Thing]] = relationship(cascade="all, delete-orphan")
    tags: Mapped[list[Tag]] = relationship(secondary=TAGGINGS)


class Caches:
    """Keeps copies of books, and writes down what it is told."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[str, ...]] = {"books": ("author_id",)}
        self.told: list[Change] = []
        self.notes: list[int] = []

    def columns(self, table: str) -> tuple[str, ...] | None:
        """It is told the author of a book."""
        return self.kept.get(table)

    def tables(self) -> Iterable[str]:
        """Of books, if nothing else is said."""
        return self.kept

    async def forget(self, changes: Sequence[Change], notes: Sequence[int]) -> None:
        """Write it down."""
        self.told += changes
        self.notes += notes


@pytest.fixture
def caches(database: Bound) -> Caches:
    """Those of the test's database."""
    made = database.caches = Caches()
    return made


async def test_a_repository_tells_what_it_did(database: Bound, caches: Caches) -> None:
    author, other, books = await AuthorFactory.create(), await AuthorFactory.create(), Books(database)
    caches.told.clear()
    made = await books.create(title="One", author_id=author.id)
    await books.change(made.id, author_id=other.id)
    (two,) = await books.batch([{"title": "Two", "author_id": author.id}])
    await books.delete(two.id)
    here, there = {"author_id": author.id}, {"author_id": other.id}
    assert caches.told == [
        Change("books", made.id, None, here),
        Change("books", made.id, here, there),
        Change("books", two.id, None, here),
        Change("books", two.id, here, None),
    ]


async def test_each_table_of_a_unit_has_one_note(database: Bound, caches: Caches) -> None:
    author = await AuthorFactory.create()
    caches.notes.clear()
    async with database.writing() as unit:
        for title in ("One", "Two"):
            await Books(database).create(title=title, author_id=author.id)
        assert caches.told == []
    async with database.reading() as session:
        assert (await session.scalars(select(drops.c.id).where(drops.c.id.in_(caches.notes)))).all() == caches.notes
    assert len(caches.notes) == 1
    assert unit.open is False


async def test_statements_of_ones_own(database: Bound, caches: Caches) -> None:
    book = await BookFactory.create()
    statements: list[Executable] = [
        update(Book).where(Book.id == book.id).values(title="New"),
        insert(Book).values(title="New", author_id=book.author_id),
        text("UPDATE books SET title = 'Newer'"),
        text("WITH a AS (DELETE FROM books WHERE id < 0 RETURNING id) SELECT * FROM a"),
        select(1).add_cte(update(Book).values(title="Newest").returning(Book.id).cte("changed")),
    ]
    for statement in statements:
        await _is_told_of_books(database, caches, statement)


async def test_what_is_sent_past_the_session(database: Bound, caches: Caches) -> None:
    """By the connection under it, as the events of mappers do, or in bulk."""
    book = await BookFactory.create()

    def in_bulk(session: Session) -> None:
        session.bulk_update_mappings(class_mapper(Book), [{"id": book.id, "title": "New"}])

    async def by_the_connection(unit: Unit, statement: Executable) -> None:
        await (await unit.session.connection()).execute(statement)

    sql = "UPDATE books SET title = 'Newest'"
    ways: list[Callable[[Unit], Awaitable[object]]] = [
        lambda unit: unit.session.run_sync(in_bulk),
        lambda unit: by_the_connection(unit, update(Book).values(title="Newer")),
        lambda unit: by_the_connection(unit, DDL("TRUNCATE Books CASCADE")),  # type: ignore[no-untyped-call]
        lambda unit: by_the_connection(unit, text("TRUNCATE authors CASCADE")),
        lambda unit: _sent(unit, sql),
    ]
    for way in ways:
        caches.told.clear()
        async with database.writing() as unit:
            await way(unit)
        assert set(map(repr, caches.told)) == set(map(repr, ALL)), inspect.getsource(way)


async def _sent(unit: Unit, sql: str) -> None:
    await (await unit.session.connection()).exec_driver_sql(sql)


async def test_what_relationships_write(database: Bound, caches: Caches) -> None:
    """Rows that a flush deletes or links, though they are nobody's objects."""
    caches.kept |= {"things": (), "taggings": ()}
    async with database.writing() as unit:
        await (await unit.session.connection()).run_sync(Apart.metadata.create_all)
        unit.session.add(Shelf(things=[Thing()], tags=[]))
        unit.session.add(Tag())
    for change, told in ((_cleared, "things"), (_tagged, "taggings")):
        caches.told.clear()
        async with database.writing() as unit:
            await unit.session.run_sync(change)
        assert set(map(repr, caches.told)) == {repr(Change(told))}


def _cleared(session: Session) -> None:
    shelf = session.scalars(select(Shelf)).one()
    shelf.things.clear()


def _tagged(session: Session) -> None:
    shelf = session.scalars(select(Shelf)).one()
    shelf.tags.append(session.scalars(select(Tag)).one())


async def test_parts_of_statements(database: Bound, caches: Caches) -> None:
    """Rows that a statement gives may be those that it writes, however deep in it that stands."""
    book = await BookFactory.create()
    changed = update(Book).values(title="New").returning(Book)
    copied = insert(Book).from_select(["title", "author_id"], select(*changed.cte("a").c["title", "author_id"])).returning(Book.id)
    statements: list[Executable] = [
        select(changed.cte("a").c.id),
        select(Book).where(Book.id.in_(select(changed.cte("a").c.id))),
        select(text("DELETE FROM Books WHERE id < 0 RETURNING id").columns(Book.id).cte("a").c.id),
        insert(Member).from_select(["email", "name"], select(copied.cte("b").c.id.cast(Text), literal("A"))),
        select(Book).from_statement(changed),
        select(Book).from_statement(text("UPDATE Books SET title = 'Newer' RETURNING *")),
        text("UPDATE BOOKS SET title = 'Newest' RETURNING id").columns(Book.id),
        update(aliased(Book)).values(title="New").execution_options(synchronize_session=False),
        text(f"EXPLAIN ANALYZE DELETE FROM books WHERE id = {book.id}"),
    ]
    for statement in statements:
        await _is_told_of_books(database, caches, statement)


async def _is_told_of_books(database: Bound, caches: Caches, statement: Executable) -> None:
    caches.told.clear()
    async with database.writing() as unit:
        await unit.session.execute(statement)
    assert set(map(repr, caches.told)) == set(map(repr, ALL)), str(statement)


async def test_what_is_none_of_their_business(database: Bound, caches: Caches) -> None:
    author = await AuthorFactory.create()
    await BookFactory.create()
    caches.told.clear()
    async with database.writing() as unit:
        await unit.session.execute(select(Book))
        await unit.session.execute(text("SELECT * FROM books"))
        await unit.session.execute(select(Book).from_statement(text("SELECT * FROM books")))
        await unit.session.execute(select(Book).where(text("books.id > 0")))
        await unit.session.scalar(Numbers("books_id_seq"))
        await unit.session.execute(update(Author).where(Author.id == author.id).values(name="New"))
        unit.session.add(Member(email="a@example.org", name="A"))
    assert caches.told == []


async def test_objects(database: Bound, caches: Caches) -> None:
    book = await BookFactory.create()
    caches.told.clear()
    async with database.writing() as unit:
        found = await unit.session.get(Book, book.id)
        assert found
        found.title = "New"
    assert caches.told == ALL


async def test_what_goes_past_the_session_is_told_by_hand(database: Bound, caches: Caches) -> None:
    async with database.writing() as unit:
        unit.noticed.table("books")
        unit.noticed.table("authors")
    assert caches.told == ALL


async def test_nothing_is_told_of_what_is_rolled_back(database: Bound, caches: Caches) -> None:
    author = await AuthorFactory.create()
    caches.told.clear()

    async def broken() -> None:
        async with database.writing():
            await Books(database).create(title="One", author_id=author.id)
            raise LookupError

    with pytest.raises(LookupError):
        await broken()
    assert caches.told == []
