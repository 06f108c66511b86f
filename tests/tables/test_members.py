"""The members' own queries."""

import pytest
from httpx import AsyncClient

from service.db.bound import Bound
from service.errors import ValueRefused
from service.tables.members import Members
from tests.factories.members import MemberFactory
from tests.fixtures.statements import ServedBy
from tests.http.conftest import refused


async def test_a_member_by_their_address_whatever_its_case(client: AsyncClient, database: Bound, served_by: ServedBy) -> None:
    member = await MemberFactory.create(email="Ann@Example.org")
    async with served_by("uq_members_email"):
        found = await Members(database).by_email("ann@EXAMPLE.org")
        answer = await client.get("/v1/members?email__iexact=ANN@example.org")
    assert found
    assert found.id == member.id == answer.json()["data"][0]["id"]


async def test_one_address_is_one_members(client: AsyncClient, database: Bound) -> None:
    await MemberFactory.create(email="Ann@example.org")
    problem = refused(await client.post("/v1/members", json={"name": "Anne", "email": "ann@example.org"}), 409, "conflict")
    assert problem["fields"] == ["email"]


async def test_only_a_member_can_be_locked(database: Bound) -> None:
    await Members(database).lock((await MemberFactory.create()).id)
    with pytest.raises(ValueRefused):
        await Members(database).lock(10**9)
