"""What ALTER TABLE locks, action by action."""

import re
from collections.abc import Set as AbstractSet
from dataclasses import replace

from service.migrations.blocking import Blocks, Effect, together
from service.migrations.sql import NAME, clauses, unquoted

READS_ALL, WRITES_ALL, BUILDS = "reads every row", "writes every row anew", "builds its index"
REFERRED = "any table that it refers to"
"""Whose triggers go with a foreign key."""
REFERENCED = re.compile(rf"\bREFERENCES {NAME}", re.IGNORECASE)
CALLED = re.compile(r"\b(\w+) ?\(")
# A default that is computed once for all rows: these stand still within a statement, or are no functions but types and clauses.
ONCE = {"now", "transaction_timestamp", "statement_timestamp", "current_setting", "check", "references", "numeric", "decimal"} | {
    "varchar", "char", "character", "varying", "bit", "time", "timestamp", "timestamptz", "interval", "foreign", "key", "collate",
}  # fmt: skip
ADD_COLUMN = re.compile(rf"ADD (?:COLUMN )?(?:IF NOT EXISTS )?{NAME} (?P<rest>.+)", re.IGNORECASE)
ADD_CONSTRAINT = re.compile(
    rf"ADD (?:CONSTRAINT {NAME} )?(?P<kind>PRIMARY KEY|UNIQUE|EXCLUDE|CHECK|FOREIGN KEY|NOT NULL)\b(?P<rest>.*)", re.IGNORECASE
)
COLUMN = r"ALTER (?:COLUMN )?\S+"
PLAIN = [
    (re.compile(pattern, re.IGNORECASE), effect)
    for pattern, effect in (
        (rf"{COLUMN} (?:SET STATISTICS|SET \(|RESET \()", Effect()),
        (r"SET \(|RESET \(|VALIDATE CONSTRAINT|CLUSTER ON|SET WITHOUT CLUSTER", Effect()),
        (rf"{COLUMN} (?:SET DATA )?TYPE ", Effect(Blocks.EVERYTHING, (), WRITES_ALL, "unless the new type holds the old values")),
        (rf"{COLUMN} SET NOT NULL", Effect(Blocks.EVERYTHING, (), READS_ALL, "unless a valid CHECK says so already")),
        (r"DROP CONSTRAINT\b", Effect(Blocks.EVERYTHING, (REFERRED,))),
        (r"DROP ", Effect(Blocks.EVERYTHING, note="its values are lost")),
    )
]
"""The actions that need no second look; what isn't here blocks everything for a moment."""


def altering(table: str, actions: str, made: AbstractSet[str]) -> Effect:
    """What the actions of one ALTER TABLE hold up together.

    Args:
        table: the table.
        actions: what follows its name.
        made: tables that the migration has made itself, for which nobody waits.
    """
    return together([_one(table, action, made) for action in clauses(actions)])


def _one(table: str, action: str, made: AbstractSet[str]) -> Effect:
    if found := ADD_CONSTRAINT.match(action):
        return _constraint(table, found["kind"].upper(), found["rest"], made)
    if found := ADD_COLUMN.match(action):
        return _column(table, found["rest"], made)
    for pattern, effect in PLAIN:
        if pattern.match(action):
            return replace(effect, tables=(table, *effect.tables))
    return Effect(Blocks.EVERYTHING, (table,))


def _constraint(table: str, kind: str, rest: str, made: AbstractSet[str]) -> Effect:
    upper = rest.upper()
    if kind == "FOREIGN KEY":
        tables = (table, *referenced(rest, made | {table}))
        return Effect(Blocks.WRITES, tables, "" if "NOT VALID" in upper else READS_ALL)
    if kind in {"CHECK", "NOT NULL"}:
        return Effect(Blocks.EVERYTHING, (table,), "" if "NOT VALID" in upper else READS_ALL)
    return Effect(Blocks.EVERYTHING, (table,), "" if "USING INDEX" in upper else BUILDS)


def _column(table: str, rest: str, made: AbstractSet[str]) -> Effect:
    upper = rest.upper()
    per_row = "GENERATED" in upper or "SERIAL" in upper or _varies(rest)
    during = WRITES_ALL if per_row and "VIRTUAL" not in upper else ""
    if not during and re.search(r"\bUNIQUE\b|\bPRIMARY KEY\b", upper):
        during = BUILDS
    if not during and re.search(r"\bCHECK ?\(", upper):
        during = READS_ALL
    others = referenced(rest, made | {table})
    return Effect(Blocks.EVERYTHING, (table,), during, f"blocks writes of {' and '.join(others)} meanwhile" if others else "")


def _varies(rest: str) -> bool:
    """Whether a default may be another one for each row: then every row is written."""
    _, default, value = rest.partition("DEFAULT ")
    return bool(default) and any(name.lower() not in ONCE for name in CALLED.findall(unquoted(value)))


def referenced(sql: str, but: AbstractSet[str]) -> tuple[str, ...]:
    """The tables that foreign keys refer to, apart from some."""
    return tuple(name for name in dict.fromkeys(REFERENCED.findall(sql)) if name not in but)
