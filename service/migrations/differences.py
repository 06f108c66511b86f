"""A difference that Alembic found between a database and the models, as a sentence."""

from typing import Any

SENTENCES = {
    "add_table": "Table {0.name} is missing.",
    "remove_table": "Table {0.name} is in no model.",
    "add_column": "Column {1}.{2.name} is missing.",
    "remove_column": "Column {1}.{2.name} is in no model.",
    "add_index": "Index {0.name} is missing, or different.",
    "remove_index": "Index {0.name} is in no model, or different.",
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


def sentence(difference: Any) -> str:
    """One of Alembic's difference tuples (or a list of them, for one column) in words."""
    if isinstance(difference, list):
        return " ".join(sentence(each) for each in difference)
    kind, *parts = difference
    if kind not in SENTENCES:
        return f"The database and the models differ: {difference}."
    return SENTENCES[kind].format(*parts)
