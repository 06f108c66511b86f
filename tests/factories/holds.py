"""Holds."""

import factory

from service.tables.holds import Hold
from tests.factories import ModelFactory
from tests.factories.books import BookFactory
from tests.factories.members import MemberFactory


class HoldFactory(ModelFactory[Hold]):
    """A member who waits for a book."""

    class Meta:
        model = Hold

    book = factory.SubFactory(BookFactory)
    member = factory.SubFactory(MemberFactory)
    status = "waiting"
