"""Copies."""

import factory

from service.tables.copies import Copy
from tests.factories import ModelFactory
from tests.factories.books import BookFactory


class CopyFactory(ModelFactory[Copy]):
    """A copy on the shelf, of a book of its own."""

    class Meta:
        model = Copy

    book = factory.SubFactory(BookFactory)
    barcode = factory.Sequence(lambda number: f"C{number:07}")
    branch = "Main"
    shelfmark = factory.Sequence(lambda number: f"F {number}")
    status = "available"
