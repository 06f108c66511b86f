"""An engine as imports use it: connections of its own, real commits, no time limit of the driver; and what is logged, kept."""

from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any

import pytest
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from structlog.testing import capture_logs

from tests.fixtures.databases import emptied


@pytest.fixture
async def importing_engine(database_url: str) -> AsyncIterator[AsyncEngine]:
    """Commits for real; the tables are emptied at the end of the test."""
    made = create_async_engine(database_url, poolclass=NullPool)
    yield made
    await emptied(made)
    await made.dispose()


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[MutableMapping[str, Any]]]:
    """What is logged. Jobs that fail on purpose would fill the screen with tracebacks, which takes a second each."""
    with capture_logs() as found:
        yield found
