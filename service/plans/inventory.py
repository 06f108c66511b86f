"""Every index of the served tables as the database has it: what it is, what it is for, how large it is, and how often it was used.

An index of the database is that of the model which has the same definition, as the migrations recorded it; where nothing is
recorded, the one of its name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from service.contract.served import served
from service.db import Model, Surface, surface
from service.db.catalogue import BUILDING, QUOTE, RECORD, fingerprint, keepers, name_of
from service.db.judging import DROPPING, Found
from service.db.model import table_of
from service.db.surface import references

# last_idx_scan came with PostgreSQL 16; as JSON its absence is no error.
INDEXES = text("""
SELECT w.place, x.relname::text AS name, am.amname::text AS method, i.indisunique AS is_unique, k.contype::text AS constrained,
       ARRAY(SELECT pg_get_indexdef(i.indexrelid, n, true) FROM generate_series(1, i.indnatts) AS n ORDER BY n) AS columns,
       i.indnkeyatts AS keys, i.indoption::int2[]::int4[] AS options,
       ARRAY(SELECT CASE WHEN c.opcdefault THEN '' ELSE c.opcname::text END
             FROM unnest(i.indclass::oid[]) WITH ORDINALITY AS u (o, n) JOIN pg_opclass c ON c.oid = u.o ORDER BY u.n) AS classes,
       ARRAY(SELECT coalesce(c.collname::text, '')
             FROM unnest(i.indcollation::oid[]) WITH ORDINALITY AS u (o, n) LEFT JOIN pg_collation c ON c.oid = u.o ORDER BY u.n
       ) AS collations, pg_get_expr(i.indpred, i.indrelid, true) AS predicate,
       substr(d.whole, strpos(d.whole, ' USING ') + 7) AS words,
       i.indisvalid AND i.indisready AND i.indislive AS whole, pg_relation_size(x.oid) AS size,
       coalesce(s.idx_scan, 0) AS scans, CAST(to_jsonb(s) ->> 'last_idx_scan' AS timestamptz) AS last_used
FROM unnest(CAST(:places AS text[])) AS w (place)
JOIN pg_index i ON i.indrelid = to_regclass(w.place)
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_am am ON am.oid = x.relam
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
LEFT JOIN pg_stat_user_indexes s ON s.indexrelid = i.indexrelid
CROSS JOIN LATERAL (SELECT pg_get_indexdef(i.indexrelid) AS whole) d
ORDER BY w.place, x.relname
""")
RECORDED = text(f"SELECT fingerprint, is_unique, words, index_name FROM {RECORD} ORDER BY recorded_at")
BROKEN = "INVALID"
CONSTRAINTS = {"p": ("primary key",), "x": ("exclusion rule",)}
EVIDENCE = text("""
SELECT d.stats_reset AS since, pg_postmaster_start_time() AS started, clock_timestamp() AS now,
       current_setting('track_counts')::boolean AS counted, current_setting('server_version_num')::int / 10000 AS version
FROM pg_stat_database d WHERE d.datname = current_database()
""")


@dataclass(frozen=True, slots=True)
class Part:
    """One key of an index, as PostgreSQL keeps it; two are equal if they sort alike.

    Attributes:
        text: what is kept, without its collation.
        option: bits: 1 descending, 2 NULLs first.
        class_: the operator class; nothing for a type's own.
        collation: nothing for a type that has none.
    """

    text: str
    option: int
    class_: str
    collation: str


@dataclass(frozen=True)
class Entry:
    """An index that stands.

    Attributes:
        method: `btree`, `gin`...
        keys: in order.
        include: the columns it carries besides.
        words: what PostgreSQL writes after USING.
        state: nothing where it is whole; otherwise what is wrong.
        size: in bytes.
        scans: as far as they were counted.
        last_used: None where it wasn't, or before PostgreSQL 16.
        path: what the model calls it; None for one that no model declares.
        ours: whether a model has it, or had it.
        needs: why the service can't do without: the primary key, a rule, a foreign key.
        questions: what clients can ask along it.
    """

    table: str
    name: str
    method: str
    unique: bool
    keys: tuple[Part, ...]
    include: tuple[str, ...]
    predicate: str | None
    words: str
    state: str
    size: int
    scans: int
    last_used: datetime | None
    path: str | None = None
    ours: bool = False
    needs: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()

    @property
    def roles(self) -> tuple[str, ...]:
        """What it is for, in a few words each."""
        return (*self.needs, *self.questions) or (self._idle,)

    @property
    def _idle(self) -> str:
        if self.path:
            return "no question: your own queries, if any"
        return "no model has it any more: a migration will drop it" if self.ours else "made outside"


@dataclass(frozen=True)
class Evidence:
    """Since when PostgreSQL counts.

    Attributes:
        since: when the statistics were reset; None where they never were.
        started: when the server was.
        counted: whether it counts at all.
        version: PostgreSQL's, the first number.
    """

    since: datetime | None
    started: datetime
    now: datetime
    counted: bool
    version: int


@dataclass(frozen=True)
class Inventory:
    """What was found.

    Attributes:
        missing: table and name of indexes that a model declares and the database doesn't have.
        unled: table and name of foreign keys that no index of the model leads with.
        absent: tables that the database doesn't have.
    """

    entries: list[Entry]
    missing: list[tuple[str, str]]
    unled: list[tuple[str, str]]
    absent: list[str]
    evidence: Evidence


async def taken(connection: AsyncConnection, tables: Sequence[Surface]) -> Inventory:
    """Take the inventory of served tables.

    Args:
        connection: one that may read, under autocommit.
        tables: what clients may ask of each.
    """
    places = {QUOTE.format_table(table_of(of.model)): of for of in tables}
    rows = (await connection.execute(INDEXES, {"places": list(places)})).mappings().all()
    recorded, names = await _recorded(connection)
    entries: list[Entry] = []
    missing: list[tuple[str, str]] = []
    for place, of in places.items():
        standing = [_entry(of, row) for row in rows if row["place"] == place]
        paths = _matched(of.model, standing, recorded)
        entries += [_known(of, entry, paths.get(entry.name), names) for entry in standing]
        missing += [(of.contract.table, path) for path in keepers(table_of(of.model)) if path not in paths.values()]
    unled = [(of.contract.table, name) for of in tables for name, leading in references(of.model).items() if not leading]
    there = {row["place"] for row in rows}
    absent = [of.contract.table for place, of in places.items() if place not in there]
    evidence = Evidence(**(await connection.execute(EVIDENCE)).mappings().one())
    return Inventory(entries, [one for one in missing if one[0] not in absent], unled, absent, evidence)


async def _recorded(connection: AsyncConnection) -> tuple[dict[str, Found], set[str]]:
    """Fingerprint -> definition, and the names of all indexes that were ever a model's; nothing where that can't be read."""
    try:
        rows = (await connection.execute(RECORDED)).all()
    except DBAPIError:
        return {}, set()
    return {mark: Found(name, unique, words) for mark, unique, words, name in rows}, {row.index_name for row in rows}


def _entry(of: Surface, row: Mapping[Any, Any]) -> Entry:
    count = row["keys"]
    parts = zip(row["columns"][:count], row["options"], row["classes"], row["collations"], strict=True)
    return Entry(
        of.contract.table,
        row["name"],
        row["method"],
        row["is_unique"],
        tuple(Part(*part) for part in parts),
        tuple(row["columns"][count:]),
        row["predicate"],
        row["words"],
        _state(row),
        row["size"],
        row["scans"],
        row["last_used"],
        needs=CONSTRAINTS.get(row["constrained"], ()),
    )


def _state(row: Mapping[Any, Any]) -> str:
    if row["name"].startswith(DROPPING):
        return "being dropped"
    if row["name"].startswith(BUILDING):
        return "being built"
    return "" if row["whole"] else BROKEN


def _matched(model: type[Model], standing: Sequence[Entry], recorded: Mapping[str, Found]) -> dict[str, str]:
    """Name of an index -> the index of the model that it is."""
    found: dict[str, str] = {}
    for path, keeper in keepers(table_of(model)).items():
        name, wanted = name_of(keeper), recorded.get(fingerprint(keeper))
        alike = [entry.name for entry in standing if wanted and Found(entry.name, entry.unique, entry.words).serves(wanted)]
        same = [entry.name for entry in standing if entry.name == name and (not wanted or name in alike)]
        free = [one for one in (*same, *alike) if one not in found and not one.startswith((DROPPING, BUILDING))]
        found |= {free[0]: path} if free else {}
    return found


def _known(of: Surface, entry: Entry, path: str | None, recorded: Iterable[str]) -> Entry:
    """An index with what the model says of it."""
    questions = tuple(str(one) for one in served(of.contract) if one.path == path)
    ours = path is not None or entry.name in recorded
    return replace(entry, path=path, ours=ours, needs=tuple(_needs(of.model, entry, path)), questions=questions)


def _needs(model: type[Model], entry: Entry, path: str | None) -> Iterator[str]:
    """Also of an index that no model has: a rule holds whoever made it, and so does the way from a deleted row to those below."""
    yield from entry.needs
    if entry.unique and not entry.needs:
        yield "unique rule"
    for name, leading in references(model).items():
        whole = entry.method == "btree" and entry.predicate is None and not leading
        if path in leading or (whole and entry.keys[0].text == QUOTE.quote(surface(model).expressions[name].name)):
            yield f"foreign key {name}"
