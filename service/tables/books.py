"""Books: one row for each title on the shelf."""

import datetime
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator
from sqlalchemy import ForeignKey, Identity, Index, Integer, text
from sqlalchemy.orm import Mapped, mapped_column, relationship

from service.db import Model, Repository, folded
from service.http import Schema, Uses, by_database, serve
from service.jobs.shaping import Import, ImportShape, Reference
from service.tables.authors import Author, AuthorRead
from service.tables.isbn import isbn13_of, required_isbn13, sound_isbn13


class Book(Model):
    """The table, and the questions it answers."""

    __tablename__ = "books"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    isbn13: Mapped[str | None] = mapped_column()
    author_id: Mapped[int] = mapped_column(ForeignKey("authors.id"))
    title: Mapped[str] = mapped_column()
    language: Mapped[str | None] = mapped_column()
    published_year: Mapped[int | None] = mapped_column(Integer)
    ratings_count: Mapped[int] = mapped_column(Integer, server_default="0")
    attributes: Mapped[dict[str, Any]] = mapped_column(server_default="{}")
    source: Mapped[str] = mapped_column(server_default="api")
    source_key: Mapped[str] = mapped_column(server_default=text("gen_random_uuid()::text"))

    author: Mapped[Author] = relationship(lazy="raise")

    # Each index is a question the API will answer; any other is refused.
    unique_isbn = Index("uq_books_isbn13", isbn13, unique=True)
    unique_source = Index("uq_books_source", source, source_key, unique=True)
    by_author = Index("ix_books_by_author", author_id, published_year.desc().nulls_last(), id.desc())
    by_language = Index("ix_books_by_language", language, ratings_count.desc(), id.desc())
    newest = Index("ix_books_newest", published_year.desc().nulls_last(), id.desc())
    by_title = Index("ix_books_by_title", folded(title), id)  # asked as title__folded, whatever the case
    search_title = Index(
        "ix_books_search_title", folded(title).label("folded"), postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"}
    )
    search_attributes = Index(
        "ix_books_search_attributes", attributes, postgresql_using="gin", postgresql_ops={"attributes": "jsonb_path_ops"}
    )
    default_order = (published_year.desc().nulls_last(), id.desc())


class BookWrite(Schema):
    """What a client sends."""

    title: str
    author_id: int
    isbn13: Annotated[str, AfterValidator(required_isbn13)] | None = None
    language: str | None = None
    published_year: int | None = None
    ratings_count: int = by_database()
    attributes: dict[str, Any] = by_database()
    source: str = by_database()
    source_key: str = by_database()


class BookRead(BookWrite):
    """What a client gets back."""

    id: int
    isbn13: str | None  # what is stored is told, whoever wrote it
    created_at: datetime.datetime
    updated_at: datetime.datetime


def names(value: Any) -> Any:
    """A list of names out of "J.K. Rowling, Mary GrandPré", or out of a JSON list; blanks between commas are left out."""
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) for part in parts):
        return value
    return [part.strip() for part in parts if part.strip()]


class BookImport(ImportShape):
    """What a file may say about a book; other columns are kept in its attributes."""

    book_id: str | None = Field(None, max_length=200)
    title: str = Field(min_length=1, max_length=500, validation_alias=AliasChoices("title", "original_title"))
    isbn13: Annotated[str | None, BeforeValidator(sound_isbn13)] = Field(
        None, validation_alias=AliasChoices("isbn13", "isbn_13", "ean")
    )
    isbn: Annotated[str | None, BeforeValidator(isbn13_of)] = Field(
        None, validation_alias=AliasChoices("isbn", "isbn10", "isbn_10")
    )
    authors: Annotated[list[Annotated[str, Field(max_length=300)]], BeforeValidator(names)] = Field(
        min_length=1, validation_alias=AliasChoices("authors", "author")
    )
    published_year: int | None = Field(
        None,
        validation_alias=AliasChoices("original_publication_year", "publication_year", "published_year", "year"),
    )
    language: str | None = Field(None, max_length=35, validation_alias=AliasChoices("language_code", "language"))
    ratings_count: int = Field(0, ge=0, validation_alias=AliasChoices("ratings_count", "ratings"))

    @model_validator(mode="after")
    def _isbn13(self) -> Self:
        """A spoilt ISBN-13 is made good by the other column."""
        if self.isbn13 is None and self.isbn is not None:
            self.isbn13 = self.isbn
        return self


imports = Import(
    Book,
    BookImport,
    source=Book.source,
    key=Book.source_key,
    keys=("book_id", "isbn13"),
    extras=Book.attributes,
    references=(Reference("authors", column=Book.author_id, name=Author.name, others="other_authors"),),
)


class Books(Repository[Book]):
    """Queries with a name. Each one says which index it rides on."""

    async def beside(self, book: Book) -> Sequence[Book]:
        """Other titles by the same author, newest first."""
        shelf = await self.page(Book.by_author, author_id=book.author_id)
        return [other for other in shelf if other.id != book.id]


router = serve(Books, at="/books", read=BookRead, write=BookWrite, include={"author": AuthorRead}, cached=60)


@router.get("/{book_id}/beside", response_model=list[BookRead])
async def beside(book_id: int, books: Uses[Books]) -> Sequence[Book]:
    """List what stands next to a book: the same author's other titles."""
    book = await books.get(book_id)  # 404 problem if there is none
    return await books.beside(book)
