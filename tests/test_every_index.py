"""What would be noticed: each declared index is dropped, reordered and weakened in turn, and the proof has to fail.

The plan proof is run with the contract as the models have it, on a database in which one index was changed. A change that it can't
see is listed with the reason; that one the comparison of definitions sees, as it sees every other.
"""

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.contract.served import Served, served
from service.db import Model, surface
from service.db.model import table_of
from service.migrations.definitions import standing, written
from service.plans.forms import FORMS
from service.plans.proof import Fault, Proof, Prover
from service.plans.questions import chosen, questions
from tests.fixtures.mutants import Mutant, mutants, taken_apart
from tests.fixtures.rows import MODELS, Full, changing

PLANNED = FORMS[:2]
INDEXES = [(model, str(index.name)) for model in MODELS for index in sorted(table_of(model).indexes, key=lambda one: str(one.name))]
each_index = pytest.mark.parametrize(("model", "name"), [pytest.param(*pair, id=pair[1]) for pair in INDEXES])
UNIQUE = "unique dropped"
ALIKE = {
    UNIQUE: "that no two rows are equal is a rule; a plan shows it only where PostgreSQL then expects more rows of this index",
    "backward: every key": "the same entries, read from the other end",
    "operators: jsonb_ops": "they know @> as well, and take more room",
}
"""What a plan can't show, as the index serves as well as before -> the reason."""
LOOKED_UP = dict.fromkeys(("direction", "NULLS", "reordered"), "every key is given: in which order they stand doesn't matter") | {
    "text_pattern_ops": "every key is given, and these operators know equality as well",
}
"""The same, of an index along which nothing is sent but lookups."""
FIRST = ("dropped", "reordered")
RIDING: dict[type[Model], dict[str, list[Served]]] = {}


@each_index
async def test_an_index_that_is_dropped_or_reordered_breaks_the_plan_proof(model: type[Model], name: str, full: Full) -> None:
    await every_mutant_is_noticed(model, name, full, FIRST)


@pytest.mark.slow
@each_index
async def test_an_index_that_is_weakened_is_noticed(model: type[Model], name: str, full: Full) -> None:
    await every_mutant_is_noticed(model, name, full, ("",))


async def every_mutant_is_noticed(model: type[Model], name: str, full: Full, kinds: tuple[str, ...]) -> None:
    """Each mutant is seen by the plan proof, unless a reason is known, and by the comparison of definitions."""
    async with full.engine.connect() as connection:
        before = await taken_apart(connection, name)
    unexpected = []
    for mutant in (mutant for mutant in mutants(before, surface(model).primary) if mutant.change.startswith(kinds)):
        reason = unseen(model, mutant, full)
        async with changing(full) as connection:
            try:
                for statement in mutant.statements:
                    await connection.exec_driver_sql(statement)
            except IntegrityError:
                continue  # its rows don't allow it: no such index can come about
            fault = await first_fault(connection, model, name, full)
            assert not await same_definition(connection, model, name), f"{name}, {mutant.change}: the comparison sees no difference"
        if bool(fault) == bool(reason) and not (fault and mutant.change == UNIQUE):
            unexpected.append(f"{name}, {mutant.change}: {fault or 'no fault'}; expected: {reason or 'a fault'}")
    assert not unexpected, "\n".join(unexpected)


def unseen(model: type[Model], mutant: Mutant, full: Full) -> str:
    """Why no plan shows a change; empty where one has to."""
    kinds = {one.kind for one in riding(model, full).get(mutant.before.name, ())}
    if not kinds:
        return "no question is sent along it: what it keeps is a rule"
    reasons = LOOKED_UP | ALIKE if kinds <= {"one", "many"} else ALIKE
    return next((reason for change, reason in reasons.items() if change in mutant.change), "")


def riding(model: type[Model], full: Full) -> dict[str, list[Served]]:
    """Index -> the combinations of which a question is sent along it."""
    if model not in RIDING:
        of, found = surface(model), RIDING.setdefault(model, {})
        for one in served(of.contract):
            asked = questions(of, one, full.samples[model.__tablename__])
            for path in {chosen(of, question).path.name for question in asked}:
                found.setdefault(path, []).append(one)
    return RIDING[model]


async def first_fault(connection: AsyncConnection, model: type[Model], name: str, full: Full) -> Fault | None:
    """The first thing that the plan proof finds wrong about the questions of an index."""
    prover = await Prover.on(connection, surface(model), full.samples[model.__tablename__], forms=PLANNED)
    for one in riding(model, full).get(name, ()):
        async for fault in prover.faults(one, Proof(model.__tablename__, one)):
            return fault
    return None


async def same_definition(connection: AsyncConnection, model: type[Model], name: str) -> bool:
    """Whether PostgreSQL writes an index as it would write the model's."""
    there = (await connection.run_sync(standing, model.__tablename__)).get(name)
    wanted = (await connection.run_sync(written, table_of(model)))[name]
    return there is not None and there.definition == wanted
