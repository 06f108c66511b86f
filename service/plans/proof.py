"""The proof of a table: each question that it serves, in each form that is sent, planned and run on a database that has rows.

Planned with its values and for any value: the promised index, entered with all that was asked, no sort, no filter, searches fenced.
Run twelve times on one connection: within the budget, and the last time as cheap as the first.
"""

from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from asyncpg import QueryCanceledError
from sqlalchemy import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection

from service.contract.served import Served
from service.db import Surface
from service.db.judging import Found
from service.db.model import table_of
from service.db.statements import Asked
from service.plans import budget
from service.plans.explain import EXPLAIN, Node, explain_prepared, explain_sent, generic_plans
from service.plans.forms import FORMS, Form, Sent
from service.plans.questions import Last, Samples, chosen, lacking, lasts, questions
from service.plans.repeating import RUNS, relations, repeated

KNOWN_ROWS = "SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = $1::regclass"
WHOLE = """
SELECT x.relname::text, i.indisunique, substring(pg_get_indexdef(i.indexrelid) FROM ' USING (.*)$')
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = $1::regclass AND i.indisvalid
"""
Twins = Mapping[str, Collection[str]]
"""Index -> other indexes that are defined as it is."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong.

    Attributes:
        statement: the question, where its page begins, and the form it was sent in.
        how: `planned for its values`, `planned for any value`, or `run`.
        sentence: what is wrong.
    """

    statement: str
    how: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.statement}, {self.how}: {self.sentence}"


@dataclass
class Proof:
    """What was found out about one combination of a table.

    Attributes:
        statements: that were planned for any value, and run.
        buffers: form -> the most that one run of it touched.
        along: the paths that its questions were sent along.
        faults: empty where every promise is kept.
        stopped: searches that took longer than they may: they are refused in time, as promised, and prove no more than that.
        unproven: why there was nothing to prove; empty where there was.
    """

    table: str
    one: Served
    statements: int = 0
    buffers: dict[str, int] = field(default_factory=dict)
    along: set[str] = field(default_factory=set)
    faults: list[Fault] = field(default_factory=list)
    stopped: int = 0
    unproven: str = ""


@dataclass(frozen=True)
class Put:
    """A statement, and what it was made of."""

    asked: Asked
    last: Last | None
    form: Form
    sent: Sent

    def __str__(self) -> str:
        after = "" if self.last is None else " after " + ", ".join(f"{name}={value}" for name, value in self.last.items())
        return f"{self.asked.question}{after}, as {self.form.name}"


@dataclass
class Prover:
    """Proves what one table serves, on one connection.

    Attributes:
        driver: asyncpg's connection, set up as the service's readers are.
        counted: the relations whose buffers count.
        rows: of the table, as PostgreSQL knows them.
    """

    driver: Any
    dialect: Dialect
    of: Surface
    samples: Samples
    counted: Sequence[int]
    rows: int
    forms: Sequence[Form] = FORMS
    twins: Twins = field(default_factory=dict)

    @classmethod
    async def on(
        cls,
        connection: AsyncConnection,
        of: Surface,
        samples: Samples,
        *,
        forms: Sequence[Form] = FORMS,
        twins: Twins | None = None,
    ) -> Self:
        """A prover on a connection of `reading_engine`."""
        driver: Any = (await connection.get_raw_connection()).driver_connection
        name = connection.dialect.identifier_preparer.format_table(table_of(of.model))
        counted, rows = await relations(driver, name), await driver.fetchval(KNOWN_ROWS, name)
        return cls(driver, connection.dialect, of, samples, counted, rows, forms, twins or {})

    async def prove(self, one: Served) -> Proof:
        """Prove one combination."""
        proof = Proof(self.of.contract.table, one)
        async for fault in self.faults(one, proof):
            proof.faults.append(fault)
        return proof

    async def faults(self, one: Served, proof: Proof) -> AsyncIterator[Fault]:
        """What is wrong about a combination, as it is found; what else is found out goes into the proof."""
        if names := lacking(self.of, one, self.samples):
            proof.unproven = f"no row has a {' or a '.join(names)} to ask for"
            return
        shapes: dict[str, Put] = {}
        for put in self._statements(one):
            shapes.setdefault(put.sent.sql, put)
            proof.along.add(put.asked.choice.path.name)
            async for fault in self._of_custom_plan(put):
                yield fault
        async for fault in self._of_shapes(list(shapes.values()), proof):
            yield fault

    async def _of_shapes(self, puts: Sequence[Put], proof: Proof) -> AsyncIterator[Fault]:
        """What is wrong about statements that differ in more than their values."""
        proof.statements = len(puts)
        prepared = [await self.driver.prepare(put.sent.sql) for put in puts]
        async for fault in self._of_generic_plans(puts, prepared):
            yield fault
        for put, statement in zip(puts, prepared, strict=True):
            async for fault in self._of_runs(put, statement, proof):
                yield fault

    def _statements(self, one: Served) -> Iterator[Put]:
        """Every statement of a combination, once with the same values."""
        seen: set[str] = set()
        for asked, last in self._pages(one):
            for form in self.forms:
                sent = form.sent(asked, last, self.dialect)
                if sent and (told := f"{form.name} {sent}") not in seen:
                    seen.add(told)
                    yield Put(asked, last, form, sent)

    def _pages(self, one: Served) -> Iterator[tuple[Asked, Last | None]]:
        """Every question with each place where a page of it may begin; an order that is asked for and left out is the same."""
        seen: set[str] = set()
        for question in questions(self.of, one, self.samples):
            choice = chosen(self.of, question)
            for last in lasts(choice, self.samples):
                told = f"{replace(question, sort=None)!r} {choice.keys} {last}"
                if told not in seen:
                    seen.add(told)
                    yield Asked(self.of, question, choice), last

    async def _of_custom_plan(self, put: Put) -> AsyncIterator[Fault]:
        if _explainable(put):
            plan = await explain_sent(self.driver, put.sent.sql, put.sent.values)
            for fault in self._broken(put, plan):
                yield Fault(str(put), "planned for its values", fault)

    async def _of_generic_plans(self, puts: Sequence[Put], prepared: Sequence[Any]) -> AsyncIterator[Fault]:
        async with generic_plans(self.driver):
            plans = [
                await explain_prepared(self.driver, one) if _explainable(put) else None
                for put, one in zip(puts, prepared, strict=True)
            ]
        for put, plan in zip(puts, plans, strict=True):
            for fault in self._broken(put, plan) if plan else ():
                yield Fault(str(put), "planned for any value", fault)

    def _broken(self, put: Put, plan: Node) -> list[str]:
        return put.form.broken(plan, put.asked, self.twins.get(put.asked.choice.path.name, ()))

    async def _of_runs(self, put: Put, prepared: Any, proof: Proof) -> AsyncIterator[Fault]:
        try:
            ran = await repeated(self.driver, prepared, put.sent.values, self.counted)
        except QueryCanceledError:
            if put.asked.choice.kind == "search":
                proof.stopped += 1
            else:
                yield Fault(str(put), "run", "it didn't end within the time that a statement has")
            return
        touched, most = max(ran.first, ran.last), put.form.most(put.asked, put.last, ran.rows, self.rows)
        proof.buffers[put.form.name] = max(proof.buffers.get(put.form.name, 0), touched)
        if touched > most:
            yield Fault(str(put), "run", f"{touched:,} buffers for {len(ran.rows)} rows, {most:,} should do")
        if ran.last > ran.first + budget.GROWTH:
            worse = f"run {RUNS} took {ran.last:,} buffers, the first {ran.first:,}: the plan that PostgreSQL keeps is worse"
            yield Fault(str(put), "run", worse)


async def twins(connection: AsyncConnection, of: Surface) -> dict[str, list[str]]:
    """For each index of a table the others that serve all that it serves: PostgreSQL may take any of them."""
    driver: Any = (await connection.get_raw_connection()).driver_connection
    name = connection.dialect.identifier_preparer.format_table(table_of(of.model))
    whole = [Found(*row) for row in await driver.fetch(WHOLE, name)]
    return {one.name: [other.name for other in whole if other is not one and other.serves(one)] for one in whole}


def _explainable(put: Put) -> bool:
    return not put.sent.sql.startswith(EXPLAIN)
