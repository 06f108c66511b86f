"""The line that declares an index is shown as it stands in the model."""

import pytest
from sqlalchemy import Identity, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from service import schema
from service.db.declared import line_of
from service.db.model import table_of
from tests.db.kinds import Apart

# ruff: noqa: A003  # a table's key is called id

INDEXES = [(model, str(index.name)) for model in schema.models() for index in table_of(model).indexes]
SOURCE = """
class Sourceless(Apart):
    __tablename__ = "test_sourceless"
    id: Mapped[int] = mapped_column(primary_key=True)
    a = Index("a", id)
"""


class Declared(Apart):
    """Indexes of several kinds."""

    __tablename__ = "test_declared"
    __table_args__ = (UniqueConstraint("word", name="uq_test_declared_word"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    word: Mapped[str] = mapped_column()

    by_word = Index(
        "ix_test_declared_word",
        word.desc(),
        id,
        postgresql_where=word != "(a)",
    )


def test_several_lines_are_shown_as_one() -> None:
    shown = line_of(Declared, "ix_test_declared_word")
    assert shown == 'Index("ix_test_declared_word", word.desc(), id, postgresql_where=word != "(a)")'


def test_a_constraint_is_shown() -> None:
    assert line_of(Declared, "uq_test_declared_word") == 'UniqueConstraint("word", name="uq_test_declared_word")'


@pytest.mark.parametrize("name", ["pk_test_declared", "ix_nothing", "word"])
def test_what_no_line_declares_has_none(name: str) -> None:
    assert line_of(Declared, name) is None


def test_a_model_without_a_source_has_no_line() -> None:
    names = {"Apart": Apart, "Mapped": Mapped, "mapped_column": mapped_column, "Index": Index, "__name__": __name__}
    exec(SOURCE, names)  # noqa: S102
    model = names["Sourceless"]
    assert isinstance(model, type)
    assert issubclass(model, Apart)
    assert line_of(model, "a") is None
    Apart.metadata.remove(table_of(model))


@pytest.mark.parametrize(("model", "name"), INDEXES, ids=[name for _, name in INDEXES])
def test_every_index_of_the_tables_has_one(model: type[Apart], name: str) -> None:
    shown = line_of(model, name)
    assert shown
    assert shown.startswith(f'Index("{name}", ')
    assert "\n" not in shown
