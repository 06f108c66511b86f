"""Events."""

import factory

from service.tables.events import Event
from tests.factories import ModelFactory


class EventFactory(ModelFactory[Event]):
    """Something that happened to a loan of its own."""

    class Meta:
        model = Event

    kind = "loan.opened"
    subject = factory.Sequence(lambda number: f"loans/{number}")
    payload = factory.Dict({})
