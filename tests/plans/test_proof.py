"""Faults of each kind, sent as statements of their own: raw SQL with values, as another way to read would send them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Dialect, text

from service.contract.question import Sort
from service.contract.served import served
from service.db import surface
from service.db.statements import Asked
from service.plans.check import broken
from service.plans.explain import Node
from service.plans.forms import PAGE, Page, Sent
from service.plans.proof import Fault, Proof, Prover, Twins, twins
from service.plans.questions import Last
from tests.fixtures.parcels import Parcel
from tests.fixtures.rows import COMMON, Full, changing

OF = surface(Parcel)
BY_ZONE = next(one for one in served(OF.contract) if one.path == "ix_parcels_by_zone" and one.equals == ("zone",))
HEAVIEST = (Sort("weight", descending=True), Sort("id"))
ORDER = "ORDER BY zone, weight DESC NULLS LAST, id"
OURS = "SELECT * FROM parcels WHERE zone = ANY (ARRAY[$1::bigint])"


@dataclass(frozen=True)
class Raw:
    """A form of raw SQL, sent for the first page of a zone, the heaviest first."""

    sql: str
    values: tuple[Any, ...] = (COMMON,)
    name: str = "raw"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:  # noqa: ARG002 - as all forms
        """The SQL."""
        question = asked.question
        plain = question.equals == {"zone": COMMON} and not question.ranges and question.sort == HEAVIEST
        return Sent(self.sql, self.values) if last is None and plain else None

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """As a page."""
        return broken(plan, asked.question, asked.choice, twins)

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:
        """As a page."""
        return Page().most(asked, last, rows, table_rows)


class Tolerant(Raw):
    """A form of which any plan will do."""

    def broken(self, *_: Any) -> list[str]:
        """Nothing."""
        return []

    def most(self, *_: Any) -> int:
        """More than there are."""
        return 1_000_000


async def proven(connection: Any, full: Full, form: Raw, alike: Twins | None = None) -> Proof:
    """The proof of a form."""
    prover = await Prover.on(connection, OF, full.samples["parcels"], forms=(form,), twins=alike)
    return await prover.prove(BY_ZONE)


async def faults(full: Full, form: Raw) -> str:
    """What is wrong about a form, as one text."""
    async with full.engine.connect() as connection:
        proof = await proven(connection, full, form)
    assert proof.statements == 1
    return "\n".join(map(str, proof.faults))


async def test_sql_of_its_own_is_proven_as_well(full: Full) -> None:
    assert await faults(full, Raw(f"{OURS} {ORDER} LIMIT {PAGE}")) == ""


BAD = {
    "a residual filter": (f"{OURS} AND slot >= 0 {ORDER} LIMIT 51", "a filter after reading: (slot >= 0)"),
    "a walk through the whole index": (
        f"SELECT * FROM parcels WHERE $1::bigint > 0 {ORDER} LIMIT 51",
        "zone isn't part of the index condition (none)",
    ),
    "a sort": (f"{OURS} ORDER BY zone, weight, label LIMIT 51", "Sort on rows"),
    "a wrong index": (
        "SELECT * FROM parcels WHERE zone = $1::bigint ORDER BY id LIMIT 51",
        "a scan of pk_parcels where ix_parcels_by_zone was promised",
    ),
    "a range that isn't entered": (
        f"{OURS} AND (weight < 9 OR (weight = 9 AND id > 7) OR weight IS NULL) {ORDER} LIMIT 51",
        "a filter after reading: ((weight < '9'::numeric)",
    ),
    "the right plan, with most of it thrown away": (f"{OURS} {ORDER} LIMIT 51 OFFSET 9000", "buffers for 51 rows,"),
    "no limit": (f"{OURS} {ORDER}", "no limit around all of it"),
}


@pytest.mark.parametrize("case", BAD)
async def test_a_fault_is_found_with_the_values_and_without(case: str, full: Full) -> None:
    sql, expected = BAD[case]
    told = await faults(full, Raw(sql))
    assert expected in told
    if "buffers" not in expected:
        assert "planned for its values" in told
        assert "planned for any value" in told


async def test_a_plan_that_turns_generic_and_gets_worse_is_found(full: Full) -> None:
    """Half of all rows are of one zone, which only a plan that knows the value knows; the other zones have a few."""
    async with changing(full) as connection:
        for setting in ("enable_sort = on", "enable_bitmapscan = off", "random_page_cost = 1", "cpu_index_tuple_cost = 0.0001"):
            await connection.execute(text(f"SET LOCAL {setting}"))
        proof = await proven(connection, full, Tolerant("SELECT id FROM parcels WHERE zone = $1::bigint ORDER BY id LIMIT 5"))
    (fault,) = proof.faults
    assert str(fault).startswith("zone= & sort=-weight,id, as raw, run: run 12 took ")
    assert str(fault).endswith("the plan that PostgreSQL keeps is worse")


async def test_an_index_that_is_defined_alike_is_as_good(full: Full) -> None:
    form, alike = Raw(f"{OURS} {ORDER} LIMIT {PAGE}"), {"ix_parcels_by_zone": ["elsewhere"]}
    async with changing(full) as connection:
        await connection.execute(text("ALTER INDEX ix_parcels_by_zone RENAME TO elsewhere"))
        alone, known = await proven(connection, full, form), await proven(connection, full, form, alike)
    assert alone.faults[0].sentence == "a scan of elsewhere where ix_parcels_by_zone was promised"
    assert known.faults == []


async def test_only_indexes_in_the_same_words_are_alike(full: Full) -> None:
    async with changing(full) as connection:
        await connection.execute(text("CREATE INDEX second ON parcels (zone, weight DESC NULLS LAST, id)"))
        await connection.execute(text("CREATE INDEX other ON parcels (zone, weight DESC NULLS LAST, id DESC)"))
        await connection.execute(text("CREATE UNIQUE INDEX stricter ON parcels (posted DESC NULLS LAST, id DESC)"))
        found = await twins(connection, OF)
    assert (found["ix_parcels_by_zone"], found["second"], found["other"]) == (["second"], ["ix_parcels_by_zone"], [])
    assert (found["ix_parcels_by_posted"], found["stricter"]) == (["stricter"], [])  # a unique one gives all that the other does


async def test_a_question_without_values_is_not_proven(full: Full) -> None:
    samples = {name: values for name, values in full.samples["parcels"].items() if name != "zone"}
    async with full.engine.connect() as connection:
        proof = await (await Prover.on(connection, OF, samples)).prove(BY_ZONE)
    assert (proof.statements, proof.faults) == (0, [])
    assert proof.unproven == "no row has a zone to ask for"


async def test_a_statement_that_takes_too_long_is_a_fault(full: Full) -> None:
    async with changing(full) as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 50"))
        proof = await proven(connection, full, Tolerant("SELECT pg_sleep(30) FROM parcels WHERE id = $1::bigint"))
    assert proof.faults == [Fault("zone= & sort=-weight,id, as raw", "run", "it didn't end within the time that a statement has")]


async def test_what_was_found_out_is_told(full: Full) -> None:
    async with full.engine.connect() as connection:
        proof = await (await Prover.on(connection, OF, full.samples["parcels"])).prove(BY_ZONE)
    assert (proof.table, proof.one, proof.along, proof.faults) == ("parcels", BY_ZONE, {"ix_parcels_by_zone"}, [])
    assert proof.buffers.keys() == {"page", "fields=", "page as JSON", "page of an export", "count=capped", "count=estimated"}
    assert proof.buffers["fields="] < 20 < proof.buffers["page"] < 130
    assert proof.buffers["count=estimated"] <= 24
