"""What the tests of the database layer share."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.db.bound import Bound
from tests.db.kinds import Kinds, made


@pytest.fixture(scope="package")
async def kinds_table(engine: AsyncEngine) -> AsyncIterator[None]:
    """The table of all types, empty."""
    async with made(engine):
        yield


@pytest.fixture
def kinds(kinds_table: None, database: Bound) -> Kinds:
    """Queries of the table of all types."""
    return Kinds(database)
