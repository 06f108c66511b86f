"""Boats."""

import decimal

import factory

from service.tables.boats import Boat  # type: ignore[import-not-found]
from tests.factories import ModelFactory


class BoatFactory(ModelFactory[Boat]):
    """A boat with a name of its own."""

    class Meta:
        model = Boat

    name = factory.Sequence(lambda number: f"Boat {number}")
    kind = "canoe"
    length = decimal.Decimal("4.5")
