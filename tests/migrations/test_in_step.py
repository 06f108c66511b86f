"""The models and the migrations say the same: the first part of `make check` that a changed model fails."""

import asyncio

from service import migrations


async def test_the_migrations_make_what_the_models_say(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    assert await asyncio.to_thread(migrations.drift, empty_database) == []


async def test_down_and_up_again_leaves_the_same(empty_database: str) -> None:
    await asyncio.to_thread(migrations.upgrade, empty_database)
    await asyncio.to_thread(migrations.downgrade, empty_database, "base")
    await asyncio.to_thread(migrations.upgrade, empty_database)
    assert await asyncio.to_thread(migrations.drift, empty_database) == []
