"""Hires."""

import datetime
import decimal

import factory

from service.tables.hires import Hire  # type: ignore[import-not-found]
from tests.factories import ModelFactory
from tests.factories.boats import BoatFactory  # type: ignore[import-not-found]


class HireFactory(ModelFactory[Hire]):
    """A boat of its own that is out."""

    class Meta:
        model = Hire

    boat = factory.SubFactory(BoatFactory)
    customer = factory.Sequence(lambda number: f"Customer {number}")
    hired_on = datetime.date(2026, 7, 1)
    hours = decimal.Decimal(2)
