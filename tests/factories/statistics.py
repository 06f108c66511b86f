"""Statistics of books."""

import factory

from service.tables.statistics import BookStatistics
from tests.factories import ModelFactory
from tests.factories.books import BookFactory


class BookStatisticsFactory(ModelFactory[BookStatistics]):
    """A book that was lent now and then."""

    class Meta:
        model = BookStatistics

    book = factory.SubFactory(BookFactory)
    loans = factory.Sequence(lambda number: number % 5)
    waiting = factory.Sequence(lambda number: number % 3)
