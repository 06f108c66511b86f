"""`shelfmark indexes check`: the indexes of the models against those of the database, and the proof that questions ride them."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import structlog
from rich.console import Console
from rich.markup import escape
from sqlalchemy.ext.asyncio import AsyncEngine

from service import migrations, schema, settings
from service.cli import rows
from service.cli.sampling import UNTIL, listed, sampled
from service.cli.scratch import scratch
from service.cli.stages import Told, watching
from service.contract.served import served
from service.db import Database, Model, surface
from service.db.catalogue import Catalogue
from service.db.engine import reading_engine
from service.errors import SetupError
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.plans.drawing import drawn
from service.plans.proof import Proof, Prover, twins
from service.settings import Settings

SHOWN = 5
MARKS = {True: "[green]ok[/]  ", False: "[red]bad[/] "}
BY_HAND = (
    "Where a model was changed, `alembic revision --autogenerate` writes the migration. Where an index was dropped or broken in "
    "the database, this mends it, while others go on:"
)
ANOTHER = "`shelfmark indexes check --scratch 100000` proves in a database of its own, filled with the sample."


def run(scratch_rows: int | None = None, tables: Sequence[str] = ()) -> None:
    """Compare, prove, print; exit with 1 where something is wrong.

    Args:
        scratch_rows: prove in a database made for it, with a sample of this size; None: in the configured one, with its own rows.
        tables: prove these only; all of them where none is named.

    Raises:
        SetupError: no database is configured, or it can't be used; there is no such table; or a scratch database can't be made or
            filled.
    """
    models, loaded = _chosen(tables), settings.load()
    url = database_url(loaded, direct=True)
    console, began = Console(highlight=False, soft_wrap=True), time.monotonic()
    wrong = _compared(console, url, loaded)
    if scratch_rows is None and migrations.current(url) != migrations.head():
        console.print(f"Its plans can be proven once it is migrated. {ANOTHER}")
        raise SystemExit(1)
    with watching(Console(stderr=True, highlight=False, soft_wrap=True)) as told:
        proving = partial(_proven, models=models, loaded=loaded, told=told)
        proofs = proving(url) if scratch_rows is None else _in_scratch(console, url, scratch_rows, told, proving)
    show(console, proofs, time.monotonic() - began)
    if wrong or any(proof.faults for proof in proofs):
        raise SystemExit(1)


def _chosen(tables: Sequence[str]) -> list[type[Model]]:
    """The models of some tables, or of all."""
    models = {model.__tablename__: model for model in schema.models()}
    unknown = next((table for table in tables if table not in models), None)
    if unknown:
        raise SetupError(f"There is no table {unknown}. There are {', '.join(models)}.")
    return [model for table, model in models.items() if table in tables or not tables]


def _compared(console: Console, url: str, loaded: Settings) -> bool:
    """Print what separates the database from the models; whether anything does."""
    with in_sentences(url):
        found = migrations.drift(url)
        migrated = migrations.current(url) == migrations.head()
        withdrawn = asyncio.run(_withdrawn(url, loaded)) if migrated else []
    for sentence in [*(difference.sentence for difference in found), *withdrawn]:
        console.print(MARKS[False] + escape(sentence))
    statements = [difference.statement for difference in found if difference.statement]
    if statements:
        console.print(BY_HAND)
    for statement in statements:
        console.print(escape(f"  {statement};"))
    if not found and not withdrawn:
        console.print(MARKS[True] + "the database has the indexes that the models declare")
    return bool(found or withdrawn)


async def _withdrawn(url: str, loaded: Settings) -> list[str]:
    """The paths that a running service wouldn't serve, as sentences."""
    database, catalogue = Database.connect(url, loaded), Catalogue(schema.models())
    try:
        with _not_logged():
            await catalogue.refresh(database)
    finally:
        await database.close()
    return [str(found) for found in catalogue.withdrawn.values()]


@contextmanager
def _not_logged() -> Iterator[None]:
    """What is printed need not be logged as well."""
    was_configured, before = structlog.is_configured(), structlog.get_config()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.configure(**before)
        if not was_configured:
            structlog.reset_defaults()


def _in_scratch(console: Console, url: str, rows: int, told: Told, proving: Callable[[str], list[Proof]]) -> list[Proof]:
    with scratch(url) as beside:
        told("migrations", 0, 1, 0)
        migrations.upgrade(beside)
        told("migrations", 1, 1, 0)
        made = sampled(beside, rows, UNTIL, told)
        console.print(f"A scratch database holds {listed(made)}. It is dropped when the proof is done.")
        return proving(beside)


def _proven(url: str, models: Sequence[type[Model]], loaded: Settings, told: Told) -> list[Proof]:
    with in_sentences(url):
        return asyncio.run(_all(url, models, loaded, told))


async def _all(url: str, models: Sequence[type[Model]], loaded: Settings, told: Told) -> list[Proof]:
    proofs: list[Proof] = []
    total = sum(len(served(surface(model).contract)) for model in models)
    engine = reading_engine(url, loaded)
    try:
        for model in models:
            async for proof in proven(engine, model):
                told("proof", len(proofs), total, 0)
                proofs.append(proof)
    finally:
        await engine.dispose()
    told("proof", total, total, 0)
    return proofs


async def proven(engine: AsyncEngine, model: type[Model]) -> AsyncIterator[Proof]:
    """Prove every combination of a table with values of its own rows, on one connection that reads."""
    of = surface(model)
    async with engine.connect() as connection:
        found = await drawn(connection, of)
        prover = await Prover.on(connection, of, found.samples, twins=await twins(connection, of))
        for one in served(of.contract):
            if found.enough:
                yield await prover.prove(one)
            else:
                yield Proof(of.contract.table, one, unproven=f"{found.rows:,} rows are too few")


def show(console: Console, proofs: Sequence[Proof], seconds: float) -> None:
    """Print what was proven as a table, the faults below it, and a line that sums it up."""
    names = ("path", "question", "kind", "buffers", "counting", "verdict")
    cells = [
        [*map(escape, (proof.one.path, str(proof.one), proof.one.kind, *_buffers(proof))), _verdict(proof)] for proof in proofs
    ]
    rows.show(names, cells, long="question", sections=[proof.table for proof in proofs])
    for line in _told(proofs):
        console.print(escape(line))
    console.print(_summed(proofs, seconds))


def _buffers(proof: Proof) -> list[str]:
    """The most that reading rows took, and that counting them did."""
    counting = max((found for name, found in proof.buffers.items() if name.startswith("count=")), default=None)
    reading = max((found for name, found in proof.buffers.items() if not name.startswith("count=")), default=None)
    return ["" if found is None else f"{found:,}" for found in (reading, counting)]


def _verdict(proof: Proof) -> str:
    if proof.faults:
        return "[red]broken[/]"
    if proof.unproven:
        return f"[yellow]not proven: {escape(proof.unproven)}[/]"
    other = sorted(proof.along - {proof.one.path})
    told = [f"along {', '.join(map(escape, other))}"] if other else []
    told += [f"{proof.stopped} refused for the time they took"] if proof.stopped else []
    return ", ".join(["[green]ok[/]", *told])


def _told(proofs: Iterable[Proof]) -> Iterator[str]:
    """What is wrong with each combination, once, with a statement of which it is so."""
    for proof in proofs:
        found = Counter(fault.sentence for fault in proof.faults)
        if found:
            yield f"{proof.one.path}: {proof.one}"
        for sentence, times in found.most_common(SHOWN):
            first = next(fault for fault in proof.faults if fault.sentence == sentence)
            yield f"  {sentence}\n    {first.statement}, {first.how}{f'; and {times - 1:,} more' if times > 1 else ''}"
        if len(found) > SHOWN:
            yield f"  ... and {len(found) - SHOWN:,} things more"


def _summed(proofs: Sequence[Proof], seconds: float) -> str:
    statements, broken = sum(proof.statements for proof in proofs), sum(bool(proof.faults) for proof in proofs)
    unproven = sum(bool(proof.unproven) for proof in proofs)
    counted = (
        f"{len(proofs) - unproven - broken:,} of {len(proofs):,} combinations proven, {broken:,} broken, {unproven:,} not proven"
    )
    told = f"{counted}; {statements:,} statements, {seconds:.0f} s."
    return f"{told} {ANOTHER}" if unproven else told
