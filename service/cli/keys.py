"""`shelfmark keys`: API keys are made, listed, replaced and revoked here. A new key is printed once; only its signature is kept."""

import asyncio
import datetime
import re
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import islice

import typer
from rich import box
from rich.console import Console
from rich.table import Table
from sqlalchemy import NullPool
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from service import schema, settings
from service.db import keys
from service.db.faults import as_problems, connecting
from service.db.keys import Granted, Listed
from service.db.wire import wire
from service.errors import SetupError
from service.http import jobs
from service.http.scopes import ADMIN, EVERY, METRICS, unknown
from service.http.tokens import Signatures, new, prefix_of
from service.local.signing import signing
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.settings import Settings

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
DURATION = re.compile(r"(\d{1,6})([smhdw])|0")
PREFIX = re.compile(r"(?:shelf_)?([0-9a-z]{8})(?:_\w*)?")
NAME_MOST = 100
COLUMNS = ("prefix", "name", "scopes", "rows", "used", "state")
"""Of the table; the lines for programs have one more, the time at which a key was made."""
When = Callable[[datetime.datetime, datetime.datetime], str]
"""How a time is told, seen from now."""
told = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


def create(name: str, scopes: Sequence[str], expires: str | None, within: Sequence[str]) -> None:
    """Make a key, and print it.

    Raises:
        SetupError: a name, scope, duration or confinement can't be used, or no secret is set.
    """
    granted = Granted(_named(name), tuple(dict.fromkeys(_scopes(scopes))), dict(_confinement(within)))
    lasting = _duration("--expires", expires) if expires else None
    signatures, token = _signatures(settings.load()), new()

    async def made() -> list[Listed]:
        async with _connected() as connection:
            await keys.add(connection, signatures.sign(token.encode()), granted, lasting)
            return await keys.listed(connection)

    everyone = asyncio.run(made())
    _hand_over(token, next(key for key in everyone if key.prefix == prefix_of(token.encode())))
    for note in _notes(granted, everyone, signatures):
        told.print(note)


def show() -> None:
    """Print every key, but for what is secret of it: a table for people, lines with tabs for programs."""
    signatures = _signatures(settings.load())

    async def found() -> list[Listed]:
        async with _connected() as connection:
            return await keys.listed(connection)

    everyone, console = asyncio.run(found()), Console(highlight=False, markup=False)
    if not console.is_terminal:
        for key in everyone:
            typer.echo("\t".join(_cells(key, signatures, _exactly)))
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, overflow="fold", min_width=10 if column == "name" else None, no_wrap=column != "name")
    for key in everyone:
        cells = (cell.replace(", ", "\n") for cell in _cells(key, signatures, _about))
        table.add_row(*islice(cells, len(COLUMNS)), style=None if key.alive else "dim")
    console.print(table if everyone else "There are no keys. `shelfmark keys create NAME --scope books:read` makes one.")


def rotate(prefix: str, overlap: str) -> None:
    """Replace a key by a new one that may do the same, and print that.

    Raises:
        SetupError: there is no such key that could be replaced, or the overlap can't be used.
    """
    old, lasting = _prefix(prefix), _duration("--overlap", overlap)
    signatures, token = _signatures(settings.load()), new()

    async def replaced() -> tuple[Listed | None, Listed | None]:
        async with _connected() as connection:
            done = await keys.replace(connection, old, signatures.sign(token.encode()), lasting)
            replacing = await keys.find(connection, prefix_of(token.encode()) or "") if done else None
            return replacing, await keys.find(connection, old)

    key, before = asyncio.run(replaced())
    if key is None:
        raise _unusable(old, before)
    _hand_over(token, key)
    ends = f"goes on until {_time(before.expires_at)}" if before and lasting else "can't be used any more"
    told.print(f"The key {old} {ends}.")


def revoke(prefix: str) -> None:
    """End a key.

    Raises:
        SetupError: there is no such key, or it has ended already.
    """
    wanted = _prefix(prefix)

    async def revoked() -> tuple[bool, Listed | None]:
        async with _connected() as connection:
            return await keys.revoke(connection, wanted), await keys.find(connection, wanted)

    done, key = asyncio.run(revoked())
    if not done or key is None:
        raise _unusable(wanted, key)
    told.print(f'The key {wanted} ("{key.name}") is revoked. Every process refuses it within a second.')


@asynccontextmanager
async def _connected() -> AsyncIterator[AsyncConnection]:
    """A transaction in the configured database."""
    url = database_url(settings.load(), direct=True)
    engine = create_async_engine(url, poolclass=NullPool, hide_parameters=True)
    try:
        async with AsyncExitStack() as open_until_then:
            with in_sentences(url), connecting():
                connection = await open_until_then.enter_async_context(engine.begin())
            with as_problems():
                if not await keys.is_there(connection):
                    raise SetupError("The database has no table for keys yet. Run `shelfmark migrate` first.")
                yield connection
    finally:
        await engine.dispose()


def _signatures(loaded: Settings) -> Signatures:
    """By the secrets that are set; else by the one of the `shelfmark up` whose database is used."""
    database_url(loaded)
    return Signatures(signing(loaded))


def _hand_over(token: str, key: Listed) -> None:
    """The key on standard output, alone; what there is to know of it beside that."""
    typer.echo(token)
    lines = {
        "name": key.name,
        "scopes": ", ".join(key.scopes),
        "rows": _rows(key),
        "expires": _time(key.expires_at) if key.expires_at else "never",
    }
    for line in ("", *(f"  {name:<9}{value}" for name, value in lines.items()), ""):
        told.print(line)
    told.print("This is the only time that the key is shown: keep it where secrets are kept. It is sent as")
    told.print("  Authorization: Bearer shelf_...")


def _notes(granted: Granted, everyone: Sequence[Listed], signatures: Signatures) -> Iterator[str]:
    """What may be a slip."""
    routers = {router.table.of.contract.table: router for router in schema.routers()}
    for table in dict.fromkeys(scope.partition(":")[0] for scope in granted.scopes):
        if table in routers and not set(granted.within) <= set(routers[table].table.confining.columns):
            yield f"\nNote: rows of {table} can't be told by {' and '.join(granted.within)}, so this key can't be used there."
    others = [key for key in everyone if key.alive and key.signed_by != signatures.newest]
    if others and len(others) == sum(key.alive for key in everyone) - 1:
        yield "\nNote: every other key was signed by another secret. Is SHELFMARK_SECRETS here what the service has?"


def _cells(key: Listed, signatures: Signatures, when: When) -> tuple[str, ...]:
    used = when(key.last_used_at, key.now) if key.last_used_at else "never"
    scopes = ", ".join(key.scopes)
    return (key.prefix, key.name, scopes, _rows(key), used, _state(key, signatures, when), when(key.created_at, key.now))


def _rows(key: Listed) -> str:
    return ", ".join(f"{name}={value}" for name, value in key.within.items()) or "all"


def _state(key: Listed, signatures: Signatures, when: When) -> str:
    """What became of a key, in a few words."""
    if key.revoked_at:
        return f"revoked {when(key.revoked_at, key.now)}"
    ends = when(key.expires_at, key.now) if key.expires_at else ""
    by = f"replaced by {key.replaced_by}" if key.replaced_by else ""
    if not key.alive:
        return ", ".join(filter(None, (f"expired {ends}", by)))
    if not signatures.knows(key.signed_by):
        return "unusable, its secret is gone"
    old = "" if key.signed_by == signatures.newest else "signed by an older secret"
    return ", ".join(filter(None, (by or "good", ends and f"ends {ends}", old)))


def _exactly(time: datetime.datetime, _now: datetime.datetime) -> str:
    return f"{time.astimezone(datetime.UTC):%Y-%m-%dT%H:%M:%SZ}"


def _about(time: datetime.datetime, now: datetime.datetime) -> str:
    """How far a time is away, in its largest whole unit."""
    seconds = abs((time - now).total_seconds())
    if seconds < UNITS["m"]:
        return "just now" if time <= now else "in a moment"
    unit = next(unit for unit in ("d", "h", "m") if seconds >= UNITS[unit])
    span = f"{seconds // UNITS[unit]:.0f} {'min' if unit == 'm' else unit}"
    return f"{span} ago" if time <= now else f"in {span}"


def _time(time: datetime.datetime | None) -> str:
    return f"{time.astimezone(datetime.UTC):%Y-%m-%d %H:%M} UTC" if time else ""


def _unusable(prefix: str, key: Listed | None) -> SetupError:
    if key is None:
        return SetupError(f"There is no key {prefix}. `shelfmark keys list` shows those that there are.")
    what = "was revoked already" if key.revoked_at else "has expired already"
    if key.alive:
        return SetupError(f'The key {prefix} ("{key.name}") was replaced by {key.replaced_by} already. Rotate that one.')
    return SetupError(f'The key {prefix} ("{key.name}") {what}.')


def _named(name: str) -> str:
    if not name.strip() or len(name) > NAME_MOST or not name.isprintable():
        raise SetupError(f"A key's name has 1 to {NAME_MOST} printable characters: say who holds it, or what for.")
    return name.strip()


def _scopes(scopes: Sequence[str]) -> Sequence[str]:
    tables = [*schema.served(), jobs.NAME]
    wrong = unknown(scopes, tables)
    if wrong or not scopes:
        what = f"{', '.join(wrong)} is no scope." if wrong else "Name what the key may do, by --scope."
        raise SetupError(
            f"{what} There are {ADMIN}, {METRICS}, and TABLE:read and TABLE:write, where TABLE is {EVERY} for every table, or one "
            f"of {', '.join(tables)}."
        )
    return scopes


def _confinement(within: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What a key is confined to, held against the tables that know it."""
    routers = [router.table.confining for router in schema.routers()]
    known = sorted({name for confining in routers for name in confining.columns})
    for given in within:
        name, equals, value = given.partition("=")
        if not equals or not value or name not in known:
            said = f"There are {', '.join(known)}." if known else "No table declares one, as serve(..., within=...)."
            raise SetupError(f"--within {given}: write NAME=VALUE, where NAME is what tables can be confined by. {said}")
        for confining in routers:
            if name in confining.columns:
                form = wire(confining.of.type_of(confining.columns[name]))
                try:
                    _ = form and form.parse(value)
                except ValueError as error:
                    raise SetupError(f"--within {given}: {error}.") from None
        yield name, value


def _duration(option: str, text: str) -> datetime.timedelta:
    found = DURATION.fullmatch(text)
    if found is None:
        raise SetupError(f"{option} {text}: write a number and a unit, as 90d, 24h, 30m, 2w.")
    return datetime.timedelta(seconds=int(found[1] or 0) * UNITS[found[2] or "s"])


def _prefix(text: str) -> str:
    found = PREFIX.fullmatch(text)
    if found is None:
        raise SetupError(f"{text[:20]} is no prefix of a key. It has eight letters or digits, and `shelfmark keys list` shows it.")
    return found[1]
