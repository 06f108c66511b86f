"""What `shelfmark indexes list`, `duplicates` and `unused` print: the indexes that stand, and what they are for."""

import asyncio
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape

from service import schema, settings
from service.cli import rows
from service.db import Surface, surface
from service.db.judging import MEND
from service.local.urls import database_url
from service.migrations.failures import in_sentences
from service.migrations.running import new_engine
from service.plans.inventory import BROKEN, Entry, Evidence, Inventory, taken
from service.plans.redundant import Pair, pairs

BESIDE = "is not needed beside"
UNITS = ("B", "kB", "MB", "GB")
KILO = 1024
LAST_USE_SINCE = 16
NOT_AMONG = "A crash loses them, and those of replicas aren't among them."


def tables() -> list[Surface]:
    """What clients may ask of each served table."""
    return [router.table.of for router in schema.routers()]


def inventory() -> Inventory:
    """The inventory of the configured database.

    Raises:
        SetupError: no database is configured, or it can't be used.
    """
    url = database_url(settings.load(), direct=True)
    with in_sentences(url):
        return asyncio.run(_taken(url))


async def _taken(url: str) -> Inventory:
    engine = new_engine(url).execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            return await taken(connection, tables())
    finally:
        await engine.dispose()


def run_list(*, as_json: bool) -> None:
    """Print every index.

    Raises:
        SetupError: no database is configured, or it can't be used.
    """
    found = inventory()
    if as_json:
        told = {
            "indexes": [_entry(entry) for entry in found.entries],
            "missing": [{"table": table, "index": name} for table, name in found.missing],
            "foreign_keys_without_index": [{"table": table, "column": name} for table, name in found.unled],
        }
        show_json(told | _evidence(found.evidence))
        return
    names = ("table", "index", "serves", "size", "scans", "last use", "state")
    cells = [_row(entry, found.evidence) for entry in found.entries]
    rows.show(names, cells, long="serves", sections=[entry.table for entry in found.entries])
    tell([*_lacking(found), since(found.evidence)])


def run_duplicates(*, as_json: bool) -> None:
    """Print the indexes whose keys another one begins with.

    Raises:
        SetupError: no database is configured, or it can't be used.
    """
    found = inventory()
    doubles = pairs(found.entries, {of.contract.table: surface(of.model).contract for of in tables()})
    if as_json:
        show_json({"duplicates": [_pair(pair) for pair in doubles]})
        return
    useless, kept = [pair for pair in doubles if not pair.kept], [pair for pair in doubles if pair.kept]
    rows.show(("table", "index", BESIDE, "size", "scans"), [_useless(pair) for pair in useless], long=BESIDE)
    cells = [[*map(escape, (pair.entry.table, pair.entry.name, pair.by.name, "\n".join(pair.kept)))] for pair in kept]
    rows.show(("table", "index", "is needed beside", "because"), cells, long="because")
    sizes = sum(entry.size for entry in {pair.entry.name: pair.entry for pair in useless}.values())
    told = f"{len(useless)} could go; they take {sized(sizes)}." if useless else "No index does what another one does already."
    tell([*_absent(found), told, *_ways_out(useless)])


def run_unused(*, as_json: bool) -> None:
    """Print the indexes that were never used and that nothing needs; and what is served and was never asked.

    Raises:
        SetupError: no database is configured, or it can't be used.
    """
    found = inventory()
    never = [entry for entry in found.entries if not entry.scans]
    unused = [entry for entry in never if not entry.needs and not entry.questions]
    unasked = [entry for entry in never if not entry.needs and entry.questions]
    if as_json:
        show_json(
            {"unused": [_entry(entry) for entry in unused], "served_never_asked": [_entry(entry) for entry in unasked]}
            | _evidence(found.evidence)
        )
        return
    for entries, title in ((unused, "what it is"), (unasked, "served, never asked")):
        cells = [[*map(escape, (one.table, one.name, "\n".join(one.roles), sized(one.size)))] for one in entries]
        rows.show(("table", "index", title, "size"), cells, long=title)
    told = f"{len(unused)} never used; they take {sized(sum(entry.size for entry in unused))}." if unused else "None is unused."
    asked = f"{len(unasked)} served and never asked: taking one away takes questions away." if unasked else ""
    tell([*_absent(found), told, asked, since(found.evidence)])


def _row(entry: Entry, evidence: Evidence) -> list[str]:
    """An index, as `list` shows it."""
    used = (sized(entry.size), f"{entry.scans:,}", _ago(entry, evidence))
    state = f"[red]{entry.state}[/]" if entry.state else "[green]valid[/]"
    return [*map(escape, (entry.table, entry.name, "\n".join(entry.roles), *used)), state]


def _useless(pair: Pair) -> list[str]:
    beside = f"{pair.by.name}, {'which has the same keys' if pair.same else 'which begins with its keys'}"
    return [*map(escape, (pair.entry.table, pair.entry.name, beside, sized(pair.entry.size), f"{pair.entry.scans:,}"))]


def _ways_out(useless: Iterable[Pair]) -> Iterator[str]:
    if any(pair.entry.path for pair in useless):
        yield "One that a model declares: delete its line, and let a migration be written."
    if any(not pair.entry.path for pair in useless):
        yield "One made outside: DROP INDEX CONCURRENTLY."


def _absent(found: Inventory) -> Iterator[str]:
    if found.absent:
        tables = f"tables {', '.join(found.absent[:-1])} and {found.absent[-1]}" if found.absent[1:] else f"table {found.absent[0]}"
        yield f"The database has no {tables}: run `shelfmark migrate`."


def _lacking(found: Inventory) -> Iterator[str]:
    yield from _absent(found)
    yield from (f"{name} of {table} is missing. {MEND}" for table, name in found.missing)
    broken = [entry for entry in found.entries if entry.ours and entry.state == BROKEN]
    yield from (f"{entry.name} of {entry.table} is INVALID. If nothing builds it: {MEND[0].lower()}{MEND[1:]}" for entry in broken)
    for table, name in found.unled:
        yield f"The foreign key {table}.{name} leads no index: deletes scan {table}. `shelfmark indexes suggest` has the line."


def since(evidence: Evidence) -> str:
    """Since when scans are counted, as a sentence."""
    if not evidence.counted:
        return "Scans aren't counted here: track_counts is off, so nothing can be said of use."
    if evidence.since:
        days = (evidence.now - evidence.since).days
        return f"Scans are counted since {_moment(evidence.since)}, {days} days. {NOT_AMONG}"
    made = "Scans are counted since the database was made: its statistics were never reset."
    return f"{made} The server runs since {_moment(evidence.started)}. {NOT_AMONG}"


def _ago(entry: Entry, evidence: Evidence) -> str:
    if entry.last_used is None:
        return "-" if evidence.version < LAST_USE_SINCE or not entry.scans else "unknown"
    return _moment(entry.last_used)


def _moment(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"


def sized(size: float) -> str:
    """Bytes as people say them."""
    for unit in UNITS[:-1]:
        if size < KILO:
            return f"{size:.0f} {unit}"
        size /= KILO
    return f"{size:,.1f} {UNITS[-1]}"


def tell(sentences: Iterable[str]) -> None:
    """Print sentences, each on a line of its own."""
    out = Console(highlight=False, soft_wrap=True)
    for sentence in filter(None, sentences):
        out.print(escape(sentence))


def show_json(told: Any) -> None:
    """Print JSON."""
    Console(highlight=False, soft_wrap=True).out(json.dumps(told, indent=2, default=str))


def _entry(entry: Entry) -> dict[str, Any]:
    told = asdict(entry)
    return {
        name: told[name]
        for name in ("table", "name", "path", "words", "unique", "needs", "questions", "size", "scans", "last_used")
    } | {"state": entry.state or "valid", "outside": not entry.ours}


def _pair(pair: Pair) -> dict[str, Any]:
    return {"table": pair.entry.table, "index": pair.entry.name, "by": pair.by.name, "same": pair.same, "kept": list(pair.kept)}


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {"counted": evidence.counted, "counted_since": evidence.since, "server_started": evidence.started}


def named(entries: Sequence[Entry]) -> dict[str, set[str]]:
    """Table -> the names of its indexes."""
    return {entry.table: {other.name for other in entries if other.table == entry.table} for entry in entries}
