"""Each listing index in turn is deleted, its questions are asked again, and the ledger of their refusals brings it back."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service import schema
from service.app import PREFIX, create_app
from service.cli import suggesting
from service.contract.choose import choose
from service.contract.path import Path
from service.contract.question import Question
from service.contract.served import served
from service.db import Database
from service.http.serve import Routes
from service.migrations.running import new_engine
from service.plans.advisor import Advice, Ground, advise
from service.plans.ledger import refused
from service.plans.questions import questions
from service.plans.wishes import heard
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.fixtures.asking import parameters
from tests.fixtures.databases import new_database, settings_of
from tests.fixtures.keys import let_in
from tests.fixtures.rows import Full, full_template
from tests.fixtures.servers import Servers
from tests.fixtures.undeclaring import undeclared

DEFINITION = text("SELECT pg_get_indexdef(CAST(:name AS regclass))")
ENOUGH = 0.9


def listing() -> Iterator[tuple[Routes, str]]:
    """Every index that serves a list, unique or not, but for primary keys."""
    for router in schema.routers():
        of = router.table.of
        declared = {str(index.name) for index in of.model.metadata.tables[of.contract.table].indexes}
        paths = {one.path for one in served(of.contract) if one.kind == "list"}
        yield from ((router, name) for name in sorted(paths & declared))


def asked(full: Full, router: Routes, name: str) -> list[Question]:
    """The questions that an index serves, with values of real rows."""
    of = router.table.of
    samples = full.samples[of.contract.table]
    return [question for one in served(of.contract) if one.path == name for question in questions(of, one, samples)]


@dataclass(frozen=True)
class Shop:
    """A database with full tables, to which indexes may be lost."""

    url: str
    settings: Settings
    connection: AsyncConnection

    @asynccontextmanager
    async def without(self, router: Routes, name: str) -> AsyncIterator[None]:
        """Delete an index from the model, and from the database; both have it again after the block."""
        definition = await self.connection.scalar(DEFINITION, {"name": name})
        await self.connection.exec_driver_sql(f'DROP INDEX "{name}"')
        await self.connection.exec_driver_sql("TRUNCATE shelfmark_refusals")
        try:
            with undeclared(router, name):
                yield
        finally:
            await self.connection.exec_driver_sql(str(definition))

    async def refusals(self, router: Routes, asking: list[Question]) -> int:
        """Ask through the API; how many were refused, and now stand in the ledger."""
        of, count = router.table.of, 0
        database = Database.connect(self.url, self.settings)
        app = create_app(self.settings, database)
        async with app.router.lifespan_context(app), client_of(app) as client:
            for question in asking:
                answer = await client.get(PREFIX + router.prefix, params=parameters(of, question))
                assert answer.status_code in {200, 400}, answer.text
                assert (answer.status_code == 400) == (choose(of.contract, question) is None)
                count += answer.status_code == 400
        await database.close()
        return count


@pytest.fixture(scope="module")
async def shop(servers: Servers) -> AsyncIterator[Shop]:
    """The database."""
    async with new_database(servers, await full_template(servers)) as url:
        await let_in(url)
        engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
        settings = settings_of(url, read_timeout_ms=60_000)
        async with engine.connect() as connection:
            yield Shop(url, settings, connection)
        await engine.dispose()


async def advice_of(shop: Shop) -> Advice:
    """What the ledger comes to, where rows keep every rule."""
    database = Database.connect(shop.url, shop.settings)
    async with database.reading() as session:
        rows = await refused(session)
    await database.close()
    tables = [router.table.of for router in schema.routers()]
    found = heard(tables, rows)
    assert not found.hopeless
    assert not found.gone
    return advise([Ground.under(of) for of in tables], found.wishes, lambda _table, _path: True, 1.0)


async def test_each_index_comes_back_as_one(full: Full, shop: Shop, capsys: pytest.CaptureFixture[str]) -> None:
    back: dict[str, bool] = {}
    for router, name in listing():
        asking = asked(full, router, name)
        async with shop.without(router, name):
            count = await shop.refusals(router, asking)
            found = await advice_of(shop)
            mine = [one for one in found.suggestions if one.wishes]
            assert len(found.suggestions) <= 1, f"{name}: {[one.line for one in found.suggestions]}"
            assert sum(one.times for one in mine) + sum(wish.times for wish in found.left) == count
            contract = router.table.of.contract
            paths = (*contract.paths, *(one.index for one in mine if isinstance(one.index, Path)))
            back[name] = all(choose(replace(contract, paths=paths), question) for question in asking)
    with capsys.disabled():
        print(f"\n{sum(back.values())} of {len(back)} listing indexes come back as one that serves all they served")  # noqa: T201
    assert sum(back.values()) >= ENOUGH * len(back), [name for name, well in back.items() if not well]


@pytest.mark.slow
async def test_each_index_comes_back_proven(
    full: Full, shop: Shop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the command does it: rows tell whether they keep a rule, and each index is built on them and explained."""
    monkeypatch.setenv("DATABASE_URL", shop.url)
    back: dict[str, bool] = {}
    for router, name in listing():
        asking = asked(full, router, name)
        async with shop.without(router, name):
            count = await shop.refusals(router, asking)
            capsys.readouterr()
            await asyncio.to_thread(suggesting.run, 1.0, 20_000, as_json=True)
            told: dict[str, Any] = json.loads(capsys.readouterr().out)
            assert len(told["suggestions"]) <= 1, f"{name}: {told['suggestions']}"
            served_again = sum(one["refusals"] for one in told["suggestions"])
            assert all(one["proven"] for one in told["suggestions"]), f"{name}: {told['suggestions']}"
            back[name] = served_again == count
    with capsys.disabled():
        print(f"\n{sum(back.values())} of {len(back)} listing indexes come back as one, proven on a sample")  # noqa: T201
    assert sum(back.values()) >= ENOUGH * len(back), [name for name, well in back.items() if not well]
