"""Authors: one row for each name that stands on a spine."""

from sqlalchemy import Identity, Index
from sqlalchemy.orm import Mapped, mapped_column

from service.db import Model, Repository, folded
from service.http import Schema, serve


class Author(Model):
    """The table, and the questions it answers."""

    __tablename__ = "authors"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column()

    unique_name = Index("uq_authors_name", folded(name), unique=True)
    by_name = Index("ix_authors_by_name", folded(name), id)
    search_name = Index(
        "ix_authors_search_name", folded(name).label("folded"), postgresql_using="gin", postgresql_ops={"folded": "gin_trgm_ops"}
    )
    default_order = (folded(name), id)


class AuthorWrite(Schema):
    """What a client sends."""

    name: str


class AuthorRead(AuthorWrite):
    """What a client gets back."""

    id: int


class Authors(Repository[Author]):
    """Queries with a name. Each one says which index it rides on."""

    async def named(self, name: str) -> Author | None:
        """The author of this name, whatever the case."""
        return await self.one(Author.unique_name, name__folded=name)


router = serve(Authors, at="/authors", read=AuthorRead, write=AuthorWrite, cached=60)
