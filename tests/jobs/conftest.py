"""An engine as imports use it: connections of its own, real commits, no time limit of the driver."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tests.fixtures.databases import emptied


@pytest.fixture
async def importing_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Commits for real; the tables are emptied at the end of the test."""
    made = create_async_engine(database_url, poolclass=NullPool)
    yield made
    await emptied(made)
    await made.dispose()
