"""Rows for tests, made by factory-boy: `await ThingFactory.create(name="It")`.

`build()` makes the object in plain Python; `create()` and `create_batch()` write it through the test's database.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

import factory
import pytest

from service.db import Model
from service.db.bound import Bound

M = TypeVar("M", bound=Model)
current: ContextVar[Bound] = ContextVar("database")


class ModelFactory(factory.Factory, Generic[M]):  # type: ignore[misc]  # factory-boy has no types
    """Makes rows of one model."""

    class Meta:
        abstract = True

    @classmethod
    async def create(cls, **values: Any) -> M:
        """Write a row, and the rows that it refers to."""
        return (await cls.create_batch(1, **values))[0]

    @classmethod
    async def create_batch(cls, size: int, **values: Any) -> list[M]:
        """Write several rows."""
        made: list[M] = cls.build_batch(size, **values)
        async with current.get().writing() as unit:
            unit.session.add_all(made)
            await unit.session.flush()
        return made


@pytest.fixture(autouse=True)
def factories_write_here(request: pytest.FixtureRequest) -> Iterator[None]:
    """Let the factories write into the database of the test, if it has one."""
    name = next((name for name in ("database", "committed") if name in request.fixturenames), None)
    if name is None:
        yield
        return
    token = current.set(request.getfixturevalue(name))
    yield
    current.reset(token)
