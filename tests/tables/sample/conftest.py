"""An invented library of 2,000 books, made once for all tests that look at it."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service.cli.sampling import UNTIL, sampled
from tests.fixtures.databases import new_database, template
from tests.fixtures.servers import Servers

BOOKS = 2000


@pytest.fixture(scope="package")
async def library(servers: Servers) -> AsyncIterator[AsyncConnection]:
    """A connection to it, for reading."""
    async with new_database(servers, await template(servers)) as url:
        await asyncio.to_thread(sampled, url, BOOKS, UNTIL)
        engine = create_async_engine(url)
        async with engine.connect() as connection:
            yield connection
        await engine.dispose()
