"""Authors."""

import factory

from service.tables.authors import Author
from tests.factories import ModelFactory


class AuthorFactory(ModelFactory[Author]):
    """An author with a name of its own."""

    class Meta:
        model = Author

    name = factory.Sequence(lambda number: f"Author {number}")
