"""`shelfmark indexes suggest`: what the ledger of refused questions comes to, and what became of it when tried."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace

from rich.console import Console
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession

from service import settings
from service.cli.advising import Outcome, show, show_as_json
from service.cli.scratch import scratch
from service.cli.stages import Told, watching
from service.cli.standing import named, tables
from service.db import surface
from service.db.engine import reading_engine
from service.errors import SetupError
from service.local.servers import attach
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine
from service.plans.adopting import adopted
from service.plans.advisor import Advice, Ground, advise
from service.plans.inventory import Inventory, taken
from service.plans.ledger import Refused, refused
from service.plans.sampling import READ_SECONDS, WRITE_SECONDS
from service.plans.trial import Trial
from service.plans.trials import Trials
from service.plans.wishes import heard
from service.settings import Settings

NO_LEDGER, NO_RIGHT = "42P01", "42501"
NOT_ASKED = "--rows 0 says so"


def run(share: float, rows: int, *, as_json: bool) -> None:
    """Print the suggestions.

    Args:
        share: the part of the refusals that is to be served, from 0 to 1.
        rows: of each table that they are tried on; 0: they aren't tried.
        as_json: print JSON.

    Raises:
        SetupError: no database is configured, or it can't be used, or it has no ledger.
    """
    loaded = settings.load()
    url = database_url(loaded, direct=True)
    with in_sentences(url):
        found, ledger = asyncio.run(_looked(url))
    with watching(Console(stderr=True, highlight=False, soft_wrap=True)) as told, _place(url, loaded, rows) as (beside, why):
        if beside is None:
            outcome = _untried(found, ledger, share, why)
        else:
            with in_sentences(url):
                outcome = asyncio.run(_tried(found, ledger, share, _Places(url, beside, loaded, rows, told)))
    (show_as_json if as_json else show)(outcome)


async def _looked(url: str) -> tuple[Inventory, Sequence[Refused]]:
    """What stands, and what was refused."""
    engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection, AsyncSession(connection) as session:
            return await taken(connection, tables()), await _ledger(session)
    finally:
        await engine.dispose()


async def _ledger(session: AsyncSession) -> Sequence[Refused]:
    try:
        return await refused(session)
    except DBAPIError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state == NO_LEDGER:
            raise SetupError("The database has no ledger of refused questions yet: run `shelfmark migrate`.") from error
        if state == NO_RIGHT:
            raise SetupError("The role may not read the ledger: GRANT SELECT ON shelfmark_refusals to it.") from error
        raise


@contextmanager
def _place(url: str, loaded: Settings, rows: int) -> Iterator[tuple[str | None, str]]:
    """A scratch database beside the configured one, else in the servers of `up`; else none, and why."""
    with ExitStack() as stack:
        yield _entered(stack, url, loaded) if rows else (None, NOT_ASKED)


def _entered(stack: ExitStack, url: str, loaded: Settings) -> tuple[str | None, str]:
    try:
        return stack.enter_context(scratch(url)), ""
    except SetupError as error:
        own = attach(loaded.directory)
        if own is None or own.database_url == url:
            return None, str(error)
        return stack.enter_context(scratch(own.database_url)), ""


@dataclass(frozen=True)
class _Places:
    """Where the rows are, and where they are tried: the URLs of both databases."""

    url: str
    beside: str
    loaded: Settings
    rows: int
    told: Told


def _grounds(found: Inventory) -> list[Ground]:
    names = named(found.entries)
    return [Ground.under(of, names.get(of.contract.table, ())) for of in tables()]


def _untried(found: Inventory, ledger: Sequence[Refused], share: float, why: str) -> Outcome:
    """Suggestions as they are; no unique index, as only rows can tell whether they keep a rule."""
    sorted_ = heard(tables(), ledger)
    advice = advise(_grounds(found), sorted_.wishes, lambda _table, _path: False, share)
    return Outcome(_adopted(advice, found), sorted_, found, ledger, [Trial(0, broken=why) for _ in advice.suggestions], why)


async def _tried(found: Inventory, ledger: Sequence[Refused], share: float, places: _Places) -> Outcome:
    by_name = {of.contract.table: of for of in tables()}
    sorted_ = heard(by_name.values(), ledger)
    source, scratched, readers = new_engine(places.url), new_engine(places.beside), reading_engine(places.beside, places.loaded)
    try:
        async with _patient(source, READ_SECONDS) as reading, _patient(scratched, WRITE_SECONDS) as writing:
            trials = Trials(reading, writing, readers, by_name, places.rows)
            advice = _adopted(await trials.advised(_grounds(found), sorted_.wishes, share), found)
            tried = await trials.tried(advice.suggestions, lambda done, total: places.told("trials", done, total, 0))
    finally:
        for engine in (source, scratched, readers):
            await engine.dispose()
    return Outcome(advice, sorted_, found, ledger, tried)


def _adopted(advice: Advice, found: Inventory) -> Advice:
    whole = {of.contract.table: surface(of.model) for of in tables()}
    return replace(advice, suggestions=[adopted(one, whole[one.ground.table], found.entries) for one in advice.suggestions])


@asynccontextmanager
async def _patient(engine: AsyncEngine, seconds: int) -> AsyncIterator[AsyncConnection]:
    """A connection under autocommit, with a time limit for each statement."""
    async with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        await connection.exec_driver_sql(f"SET statement_timeout = '{seconds}s'")
        yield connection
