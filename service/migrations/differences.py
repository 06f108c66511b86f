"""A difference that Alembic found between a database and the models, as a sentence, and what would mend the database."""

from dataclasses import dataclass
from typing import Any

from service.migrations.definitions import Definition
from service.migrations.places import QUOTE, Place

UNIQUE = "unique "

SENTENCES = {
    "add_table": "Table {0.name} is missing.",
    "remove_table": "Table {0.name} is in no model.",
    "add_column": "Column {1}.{2.name} is missing.",
    "remove_column": "Column {1}.{2.name} is in no model.",
    "add_index": "Index {0.name} is missing, or different.",
    "remove_index": "Index {0.name} is in no model, or different.",
    "missing_index": "Index {2} of {1} is missing: {3}.",
    "changed_index": "Index {2} of {1} is {3} in the database, {4} in the model.",
    "broken_index": "Index {2} of {1} is INVALID: a build of it was broken off.",
    "renamed_index": "Index {2} of {1} is called {3} in the model.",
    "unwanted_index": "Index {2} of {1} is in no model.",
    "leftover_index": "Index {2} of {1} was left behind by a migration that was broken off.",
    "add_constraint": "Constraint {0.name} is missing, or different.",
    "remove_constraint": "Constraint {0.name} is in no model, or different.",
    "add_fk": "Foreign key {0.name} is missing, or different.",
    "remove_fk": "Foreign key {0.name} is in no model, or different.",
    "add_row_version": "Table {1} lacks the trigger that keeps its row version.",
    "repair_row_version": "The trigger that keeps the row version of {1} is disabled or different.",
    "remove_row_version": "Table {1} has the trigger of a row version, and no model that asks for it.",
    "add_function": "The function {0} is missing.",
    "repair_function": "The function {0} is not the one that the triggers need.",
    "remove_function": "The function {0} is needed by no table.",
    "add_extension": "The extension {0} is missing.",
    "use_extension": "An index that is missing, or different, needs the extension {0}, which is there.",
    "modify_type": "Column {1}.{2} has the type {4!r} in the database, {5!r} in the model.",
    "modify_nullable": "Column {1}.{2}: nullable is {4} in the database, {5} in the model.",
    "modify_default": "Column {1}.{2} has another default in the database than in the model.",
    "modify_comment": "Column {1}.{2} has another comment in the database than in the model.",
}


@dataclass(frozen=True, slots=True)
class Difference:
    """What separates a database from the models.

    Attributes:
        sentence: what it is.
        statement: SQL that makes the database as the models have it, and holds nobody up; nothing where that is a migration's work.
    """

    sentence: str
    statement: str = ""


def told(found: Any) -> Difference:
    """One of Alembic's difference tuples, or a list of them, for one column."""
    return Difference(sentence(found), "" if isinstance(found, list) else _statement(*found))


def _statement(kind: str, *parts: Any) -> str:
    """For an index or an extension that went, or broke, behind the migrations' back."""
    if kind == "add_extension":
        return f"CREATE EXTENSION {QUOTE(parts[0])}"
    if kind == "missing_index":
        schema, table, name, words = parts
        definition = Definition(words.startswith(UNIQUE), words.removeprefix(UNIQUE))
        return Place(table, schema).creation(name, definition, concurrently=True)
    if kind == "broken_index":
        schema, table, name = parts
        return f"REINDEX INDEX CONCURRENTLY {Place(table, schema).quoted(name)}"
    return ""


def sentence(difference: Any) -> str:
    """One of Alembic's difference tuples (or a list of them, for one column) in words."""
    if isinstance(difference, list):
        return " ".join(sentence(each) for each in difference)
    kind, *parts = difference
    if kind not in SENTENCES:
        return f"The database and the models differ: {difference}."
    return SENTENCES[kind].format(*parts)
