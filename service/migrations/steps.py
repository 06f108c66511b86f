"""The steps of a migration, from SQL as Alembic writes it for a file: what each does, and whom it holds up."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from service.migrations.effects import Known, Step, called, step
from service.migrations.sql import statements

PLURALS = {"index": "indexes", "trigger": "triggers", "change": "changes", "table": "tables"}


def steps(sql: str, tables: Mapping[str, str] | None = None) -> list[Step]:
    """The steps of one migration; what happens to a table that it makes or drops is folded into that step.

    Args:
        sql: its statements.
        tables: index -> its table, of those that stand.
    """
    cut = list(statements(sql))
    known = Known(dict(tables or {}), called=dict(filter(None, map(called, cut))))
    found = [one for statement in cut if (one := step(statement, known))]
    dropped = {one.table for one in found if one.words.startswith("DROP TABLE")}
    return list(_folded(found, {one.table for one in found if one.table in known.made | dropped and one.kind == "table"}))


def _folded(found: list[Step], whole: set[str | None]) -> Iterator[Step]:
    """Each table that is made or dropped as one step, with what else is made or dropped with it counted."""
    parts: dict[str | None, Counter[str]] = {table: Counter() for table in whole}
    for one in found:
        if _is_part(one, whole):
            parts[one.table][one.kind] += 1
    for one in found:
        if one.table in whole and one.kind == "table":
            yield replace(one, words=one.words + _with(parts[one.table]))
        elif not _is_part(one, whole):
            yield one


def _is_part(one: Step, whole: set[str | None]) -> bool:
    """Whether a step is about nothing but a table that is made or dropped as a whole."""
    return one.table in whole and one.kind != "table" and set(one.effect.tables) <= {one.table}


def _with(parts: Counter[str]) -> str:
    told = [f"{number} {kind if number == 1 else PLURALS[kind]}" for kind, number in sorted(parts.items())]
    return f", {', '.join(told)}" if told else ""
