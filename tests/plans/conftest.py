"""A table with all the indexes that a planted fault needs, full enough for the planner to use them."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.migrations.running import new_engine

TABLE = """
CREATE TABLE shelves (
  id bigint PRIMARY KEY, room int NOT NULL, height int, tag text COLLATE "C" NOT NULL,
  "odd Name" int NOT NULL, open boolean NOT NULL
);
INSERT INTO shelves
SELECT g, g % 50, nullif(g % 97, 5), 'Tag ' || g % 500, g % 20, g % 5 = 0 FROM generate_series(1, 20000) AS g;
CREATE INDEX ix_shelves_by_room ON shelves (room, height DESC NULLS LAST, id DESC);
CREATE INDEX ix_shelves_by_height ON shelves (height DESC NULLS LAST, id DESC);
CREATE INDEX ix_shelves_by_tag ON shelves ((lower(tag COLLATE "default") COLLATE "C"), id);
CREATE INDEX ix_shelves_oddly ON shelves ("odd Name", id);
CREATE INDEX ix_shelves_open ON shelves (height DESC NULLS LAST, id DESC) WHERE open;
ANALYZE shelves
"""


@pytest.fixture(scope="module")
async def shelves(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A connection in whose transaction the table exists."""
    async with engine.connect() as connection:
        for statement in TABLE.split(";"):
            await connection.execute(text(statement))
        yield connection
        await connection.rollback()


@pytest.fixture
async def planner(shelves: AsyncConnection) -> AsyncIterator[AsyncConnection]:
    """The same connection; planner settings that a test makes are undone."""
    async with shelves.begin_nested() as savepoint:
        yield shelves
        await savepoint.rollback()


@pytest.fixture
async def apart(own_database: str) -> AsyncIterator[AsyncConnection]:
    """A connection under autocommit to a database where a test may do what it likes."""
    engine = new_engine(own_database).execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as made:
        yield made
    await engine.dispose()
