"""Loans."""

import datetime

import factory

from service.tables.loans import Loan
from tests.factories import ModelFactory
from tests.factories.copies import CopyFactory
from tests.factories.members import MemberFactory


class LoanFactory(ModelFactory[Loan]):
    """An open loan of a copy of its own."""

    class Meta:
        model = Loan

    copy = factory.SubFactory(CopyFactory, status="lent")
    member = factory.SubFactory(MemberFactory)
    due_on = datetime.date(2100, 1, 1)
