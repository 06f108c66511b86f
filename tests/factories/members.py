"""Members."""

import factory

from service.tables.members import Member
from tests.factories import ModelFactory


class MemberFactory(ModelFactory[Member]):
    """A member with an address of their own."""

    class Meta:
        model = Member

    email = factory.Sequence(lambda number: f"member{number}@example.org")
    name = factory.Sequence(lambda number: f"Member {number}")
