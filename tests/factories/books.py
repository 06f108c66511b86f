"""Books."""

import factory

from service.tables.books import Book
from tests.factories import ModelFactory
from tests.factories.authors import AuthorFactory


class BookFactory(ModelFactory[Book]):
    """A book by an author of its own."""

    class Meta:
        model = Book

    title = factory.Sequence(lambda number: f"Title {number}")
    author = factory.SubFactory(AuthorFactory)
    language = "eng"
    published_year = 1999
    ratings_count = 0
