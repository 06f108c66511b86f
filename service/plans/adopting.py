"""A suggested index that stands already, made by somebody outside: it only has to be declared, under the name that it has."""

import re
from collections.abc import Iterable
from dataclasses import replace

from sqlalchemy import String

from service.contract.path import Key
from service.contract.question import FOLDED
from service.contract.search import SearchPath
from service.db import Surface
from service.db.catalogue import QUOTE
from service.db.surface import Expression
from service.plans.advisor import Suggestion
from service.plans.candidates import Index
from service.plans.inventory import Entry, Part
from service.plans.redundant import DESCENDING, NULLS_FIRST
from service.plans.trial import OPCLASSES, condition, sql

LOOSE = re.compile(r"::[\w ]+(\[\])?|[()\"\s]")
"""What PostgreSQL may write otherwise without meaning anything else."""


def adopted(suggestion: Suggestion, of: Surface, entries: Iterable[Entry]) -> Suggestion:
    """The suggestion, under the name of an index that stands and that no model has, where there is such a one.

    Args:
        suggestion: for the table.
        of: the table's names, with what they mean in SQL.
        entries: what stands.
    """
    mine = [entry for entry in entries if entry.table == suggestion.ground.table and entry.path is None and not entry.state]
    for entry in mine:
        if (index := _alike(suggestion.index, of, entry)) is not None:
            return replace(suggestion, index=index, instead=None, stands=True)
    return suggestion


def _alike(index: Index, of: Surface, entry: Entry) -> Index | None:
    """The index as the model would have to declare one that stands; None where that is another."""
    if isinstance(index, SearchPath):
        wanted = Part(_bare(of.expressions[index.key]), 0, OPCLASSES[index.operator], _collation(of, index.key))
        same = (entry.method, _loose(entry.keys), entry.predicate) == ("gin", (wanted,), None)
        return replace(index, name=entry.name) if same else None
    include = _names(of, entry.include)
    where = LOOSE.sub("", sql(condition(of, index))) if index.predicate else ""
    keys = tuple(Part(_bare(of.expressions[key.name]), _option(key), "", _collation(of, key.name)) for key in index.keys)
    standing = (entry.method, entry.unique, _loose(entry.keys), LOOSE.sub("", entry.predicate or ""))
    same = include is not None and standing == ("btree", index.unique, keys, where)
    return replace(index, name=entry.name, include=include or frozenset()) if same else None


def _names(of: Surface, columns: Iterable[str]) -> frozenset[str] | None:
    """What clients call columns; None where one has no name."""
    known = {QUOTE.quote(expression.name): name for name, expression in of.expressions.items() if not name.endswith(FOLDED)}
    return frozenset(known[column] for column in columns) if set(columns) <= known.keys() else None


def _loose(parts: Iterable[Part]) -> tuple[Part, ...]:
    return tuple(replace(part, text=LOOSE.sub("", part.text)) for part in parts)


def _bare(expression: Expression) -> str:
    """A key without its collation, which PostgreSQL tells apart from it."""
    return LOOSE.sub("", sql(expression).removesuffix(' COLLATE "C"'))


def _collation(of: Surface, name: str) -> str:
    kind = of.type_of(name)
    if name.endswith(FOLDED):
        return "C"
    return (kind.collation or "default") if isinstance(kind, String) else ""


def _option(key: Key) -> int:
    return (DESCENDING if key.descending else 0) | (NULLS_FIRST if key.nulls_first else 0)
