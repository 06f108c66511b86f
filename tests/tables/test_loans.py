"""Lists of loans, as a client asks for them, and the repository's own queries."""

import datetime

import pytest
from httpx import AsyncClient
from sqlalchemy import text

from service.db.bound import Bound
from service.errors import Conflict
from service.tables.loans import Loan, Loans
from tests.factories.copies import CopyFactory
from tests.factories.loans import LoanFactory
from tests.factories.members import MemberFactory
from tests.fixtures.statements import ServedBy

RETURNED = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)


def borrowed(year: int) -> datetime.datetime:
    """The beginning of a year."""
    return datetime.datetime(year, 1, 1, tzinfo=datetime.UTC)


@pytest.fixture
async def loans(database: Bound) -> list[Loan]:
    """One member's loans of one copy, the last one open, among those of others."""
    copy, member = await CopyFactory.create(status="lent"), await MemberFactory.create()
    old = await LoanFactory.create(copy=copy, member=member, borrowed_at=borrowed(2020), returned_at=RETURNED)
    new = await LoanFactory.create(copy=copy, member=member, borrowed_at=borrowed(2022), due_on=datetime.date(2022, 2, 1))
    await LoanFactory.create(due_on=datetime.date(2022, 1, 1))
    await LoanFactory.create()
    return [old, new]


async def ids(client: AsyncClient, query: str) -> list[int]:
    """The loans of a list."""
    answer = await client.get(f"/v1/loans?{query}")
    assert answer.status_code == 200, answer.text
    return [row["id"] for row in answer.json()["data"]]


async def test_a_members_loans_and_those_still_open(client: AsyncClient, loans: list[Loan], served_by: ServedBy) -> None:
    old, new = loans
    async with served_by("ix_loans_of_member"):
        assert await ids(client, f"member_id={old.member_id}") == [new.id, old.id]
    async with served_by("ix_loans_open_of_member"):
        assert await ids(client, f"member_id={old.member_id}&returned_at=null") == [new.id]


async def test_a_copys_history_and_who_has_it(client: AsyncClient, loans: list[Loan], served_by: ServedBy) -> None:
    old, new = loans
    async with served_by("ix_loans_of_copy"):
        assert await ids(client, f"copy_id={old.copy_id}") == [new.id, old.id]
    async with served_by("uq_loans_open_of_copy"):
        assert await ids(client, f"copy_id={old.copy_id}&returned_at=null") == [new.id]


async def test_the_overdue_list(client: AsyncClient, loans: list[Loan], database: Bound, served_by: ServedBy) -> None:
    async with served_by("ix_loans_overdue"):
        found = await ids(client, "returned_at=null&sort=due_on&due_on__lt=2023-01-01")
        late = await Loans(database).late(datetime.date(2023, 1, 1))
    assert found == [loan.id for loan in late]
    assert found[1:] == [loans[1].id]


async def test_all_loans_are_no_question(client: AsyncClient) -> None:
    assert (await client.get("/v1/loans")).status_code == 400


async def test_what_a_member_has_at_home(loans: list[Loan], database: Bound, served_by: ServedBy) -> None:
    async with served_by("ix_loans_open_of_member"):
        found = await Loans(database).open_of(loans[0].member_id)
        number = await Loans(database).count_open_of(loans[0].member_id, 10)
    assert ([loan.id for loan in found], number) == ([loans[1].id], 1)


async def test_the_book_that_a_member_has(database: Bound, served_by: ServedBy) -> None:
    loan = await LoanFactory.create()
    async with served_by("ix_loans_open_of_member|uq_loans_open_of_copy"):  # of a few rows either is as good
        assert await Loans(database).of_book(loan.copy.book_id, loan.member_id) == loan.id
        assert await Loans(database).of_book(loan.copy.book_id + 1, loan.member_id) is None


async def test_the_index_stops_a_copy_from_being_lent_twice(database: Bound) -> None:
    loan = await LoanFactory.create()
    member = await MemberFactory.create()
    with pytest.raises(Conflict, match="copy_id"):
        await Loans(database).opened(loan.copy_id, member.id, 28)
    async with database.writing() as unit:
        await unit.session.execute(text("UPDATE loans SET returned_at = clock_timestamp()"))
    assert (await Loans(database).opened(loan.copy_id, member.id, 28)).copy_id == loan.copy_id
