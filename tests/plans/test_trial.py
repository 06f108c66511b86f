"""A suggestion, tried: rows are copied, the index is built on them and proven, its price is measured, and nothing stays."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.contract.path import Key, Path, Term
from service.contract.question import Question
from service.contract.shape import shape_of
from service.db import surface
from service.db.engine import reading_engine
from service.migrations.running import new_engine
from service.plans import sampling, trial
from service.plans.advisor import Ground, Suggestion
from service.plans.sampling import Sample, sampled
from service.plans.trial import Trial, keeps, tried
from service.plans.trials import Trials
from service.plans.wishes import Wish
from service.settings import Settings
from tests.fixtures.databases import new_database
from tests.fixtures.parcels import Parcel
from tests.fixtures.rows import ROWS, Full
from tests.fixtures.servers import Servers

OF = surface(Parcel)
GROUND = Ground.under(OF)
SOME = 8_000
LABEL, ID = Key("label"), Key("id")
WEIGHT = Key("weight", descending=True, nullable=True)
DEFINITIONS = text("SELECT pg_get_indexdef(indexrelid) FROM pg_index WHERE indrelid = 'parcels'::regclass ORDER BY 1")


@dataclass(frozen=True)
class Bench:
    """A sample of the parcels in a scratch database."""

    source: AsyncConnection
    scratch: AsyncConnection
    readers: AsyncEngine
    sample: Sample

    async def tried(self, path: Path, instead: str | None = None) -> Trial:
        """Try an index."""
        return await tried(self.scratch, self.readers, self.sample, Suggestion(GROUND, path, instead, (), ()))

    async def definitions(self) -> list[str]:
        """The indexes that stand there."""
        return list((await self.scratch.execute(DEFINITIONS)).scalars())


@pytest.fixture(scope="module")
async def bench(full: Full, servers: Servers, settings: Settings) -> AsyncIterator[Bench]:
    """A part of the full table of parcels."""
    async with new_database(servers) as url:
        engines = [new_engine(one).execution_options(isolation_level="AUTOCOMMIT") for one in (full.url, url)]
        readers = reading_engine(url, settings)
        async with engines[0].connect() as source, engines[1].connect() as scratch:
            yield Bench(source, scratch, readers, await sampled(source, scratch, Parcel, SOME))
        for engine in (*engines, readers):
            await engine.dispose()


async def test_a_part_of_the_rows_is_copied_and_a_tenth_held_back(bench: Bench) -> None:
    there = await bench.scratch.scalar(text("SELECT count(*) FROM parcels"))
    assert there == bench.sample.rows
    assert SOME * 0.6 < bench.sample.rows + bench.sample.held <= SOME
    assert bench.sample.rows == pytest.approx(9 * bench.sample.held, abs=9)
    assert bench.sample.known == ROWS
    declared = {str(index.name) for index in Parcel.metadata.tables["parcels"].indexes}
    assert len(await bench.definitions()) == len(declared) + 1
    assert bench.sample.without == ()


async def test_they_come_from_all_over_the_table(bench: Bench) -> None:
    least, most = (await bench.scratch.execute(text("SELECT min(id), max(id) FROM parcels"))).one()
    assert least < ROWS / 5
    assert most > ROWS * 4 / 5


async def test_an_index_is_built_proven_and_priced(bench: Bench) -> None:
    before = await bench.definitions()
    found = await bench.tried(Path("ix_parcels_label", (LABEL, WEIGHT, Key("id", descending=True, nulls_first=True))))
    assert (found.broken, found.faults, found.proven) == ("", [], True)
    assert {str(proof.one).partition(" ")[0] for proof in found.proofs} == {"label=", "sort=label,-weight"}
    assert found.sample == bench.sample.rows
    assert found.size == pytest.approx(await _size(bench) * ROWS / bench.sample.rows, rel=0.3)
    assert found.before
    assert found.after
    assert found.before.rows == found.after.rows == bench.sample.held
    assert 20 < (found.after.wal - found.before.wal) / found.after.rows < 400
    assert await bench.definitions() == before
    assert await bench.scratch.scalar(text("SELECT count(*) FROM parcels")) == bench.sample.rows


async def _size(bench: Bench) -> int:
    """What the same index takes on the sample."""
    await bench.scratch.exec_driver_sql("CREATE INDEX again ON parcels (label, weight DESC NULLS LAST, id DESC)")
    size = int(await bench.scratch.scalar(text("SELECT pg_relation_size('again')")) or 0)
    await bench.scratch.exec_driver_sql("DROP INDEX again")
    return size


PATHS = {
    "partial, by NULL": Path("ix_parcels_1", (LABEL, ID), predicate=(Term("delivered_at"),)),
    "partial, by truth": Path("ix_parcels_2", (LABEL, ID), predicate=(Term("fragile", value=True),)),
    "partial, by a text": Path("ix_parcels_3", (Key("slot"), ID), predicate=(Term("sender", "Zoo 0"),)),
    "folded": Path("ix_parcels_4", (Key("sender__folded", nulls_first=True, nullable=True, text=True), ID)),
    "unique, where it is": Path("uq_parcels_5", (Key("code"), Key("slot")), unique=True),
    "carrying": Path("ix_parcels_6", (Key("slot"), ID), include=frozenset({"label"})),
}


@pytest.mark.parametrize("case", PATHS)
async def test_each_kind_of_index_that_may_be_suggested(bench: Bench, case: str) -> None:
    before = await bench.definitions()
    found = await bench.tried(PATHS[case])
    assert (found.broken, found.faults) == ("", [])
    assert found.proofs
    assert await bench.definitions() == before


async def test_one_that_takes_anothers_place(bench: Bench) -> None:
    """The other is gone while it is tried, and back afterwards."""
    before = await bench.definitions()
    found = await bench.tried(Path("ix_parcels_by_label", (Key("label__folded", text=True), LABEL, ID)), "ix_parcels_by_label")
    assert found.proven
    assert await bench.definitions() == before


async def test_an_index_that_keeps_no_promise_is_seen(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Were the advisor wrong, the plan would tell: here the keys are built in another order."""
    monkeypatch.setattr(trial, "create", lambda _of, _index: "CREATE INDEX ix_parcels_wrong ON parcels (weight, label, id)")
    found = await bench.tried(Path("ix_parcels_wrong", (LABEL, WEIGHT, ID)))
    assert found.faults
    assert not found.proven


async def test_rows_tell_whether_they_keep_a_rule(bench: Bench) -> None:
    async def kept(*names: str, predicate: tuple[Term, ...] = ()) -> bool:
        return await keeps(bench.scratch, bench.sample, Path("uq", tuple(map(Key, names)), unique=True, predicate=predicate))

    assert await kept("code")
    assert not await kept("zone")
    assert await kept("zone", "slot")
    assert not await kept("sender"), "many have the same; those without one don't count"
    await bench.scratch.exec_driver_sql(f"UPDATE {bench.sample.staged} SET posted = NULL, delivered_at = NULL")
    assert await kept("posted")
    assert not await kept("fragile", predicate=(Term("delivered_at"),))


async def test_an_index_that_postgresql_cannot_build_says_why(bench: Bench) -> None:
    before = await bench.definitions()
    found = await bench.tried(Path("ix_parcels_impossible", (LABEL, ID), predicate=(Term("zone", "north"),)))
    assert found.broken == 'PostgreSQL can\'t build it: invalid input syntax for type bigint: "north"'
    assert not found.proven
    assert await bench.definitions() == before


async def test_a_table_that_is_not_there(bench: Bench) -> None:
    """Where the rows are, there is no such table."""
    with pytest.raises(DBAPIError):
        await sampled(bench.scratch, bench.scratch, Parcel)


def test_all_of_a_small_table_is_read() -> None:
    assert sampling._tablesample(0, 100) == ""  # noqa: SLF001
    assert sampling._tablesample(90, 100) == ""  # noqa: SLF001
    assert "SYSTEM (0.090000)" in sampling._tablesample(100_000, 100)  # noqa: SLF001


async def test_what_cannot_be_tried_says_why(bench: Bench) -> None:
    found = Trials(bench.scratch, bench.scratch, bench.readers, {"parcels": OF}, SOME)
    told: list[tuple[int, int]] = []
    (one,) = await found.tried([Suggestion(GROUND, PATHS["carrying"], None, (), ())], lambda *at: told.append(at))
    assert one.broken.startswith("its rows can't be copied: ")
    assert told == [(0, 1), (1, 1)]


async def test_a_rule_that_rows_break_is_not_suggested(full: Full, servers: Servers, settings: Settings) -> None:
    """The advice is worked out again without it."""
    asked = [Question(among={name: (1,)}) for name in ("label", "slot")]
    wishes = [Wish("parcels", shape_of(OF.contract, one), one, 1) for one in asked]
    async with new_database(servers) as url:
        engines = [new_engine(one).execution_options(isolation_level="AUTOCOMMIT") for one in (full.url, url)]
        readers = reading_engine(url, settings)
        async with engines[0].connect() as source, engines[1].connect() as scratch:
            trials = Trials(source, scratch, readers, {"parcels": OF}, 2_000)
            advice = await trials.advised([GROUND], wishes, 1.0)
        for engine in (*engines, readers):
            await engine.dispose()
    suggested = {one.line for one in advice.suggestions}
    assert suggested <= {'Index("uq_parcels_slot", slot, unique=True)', 'Index("uq_parcels_label", label, unique=True)'}
    assert len(suggested) + len(advice.ruled_out) == 2
    assert advice.ruled_out
