"""The questions of a path: each is served by it, they speak of all that is listed, and what would be lost is told."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.choose import choose
from service.contract.path import Contract, Key, Path
from service.contract.probing import lost, probes
from service.contract.question import Range
from service.contract.served import served
from service.contract.shape import shape_of
from tests.contract.library import books, holds, id_up, loans
from tests.contract.strategies import contracts, questions
from tests.contract.test_served import asked_by

CASES = [pytest.param(contract, path, id=path.name) for contract in (books, loans, holds) for path in contract.paths]


@pytest.mark.parametrize(("contract", "path"), CASES)
def test_all_that_is_listed_of_a_path_is_probed(contract: Contract, path: Path) -> None:
    """Filters, orders and kinds of ranges, as a reader of the list would ask."""
    alone = replace(contract, paths=(path,))
    found = {shape_of(contract, question) for question in probes(contract, path)}
    for offer in served(alone):
        for question in asked_by(offer):
            plain = replace(question, ranges=tuple(Range(over.name) for over in question.ranges))
            assert shape_of(contract, plain) in found, f"{question} isn't probed"


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_what_a_path_serves_and_no_other_would_be_lost(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    for path in contract.paths:
        others = replace(contract, paths=tuple(other for other in contract.paths if other is not path))
        if choose(contract, question) and not choose(others, question):
            assert lost(contract, path), f"{question} would be lost with {path}"


def test_nothing_is_lost_with_what_another_serves() -> None:
    twin = replace(books.paths[3], name="ix_twin")
    both = replace(books, paths=(*books.paths, twin))
    assert lost(both, twin) == []
    assert lost(books, books.paths[3])


def test_null_is_a_question_of_its_own() -> None:
    """A unique index looks up a value; rows without one are a list."""
    listed = Path("ix_listed", (Key("isbn13", nullable=True), id_up))
    contract = replace(books, paths=(*books.paths, listed))
    gone = {str(shape_of(contract, question)) for question in lost(contract, listed)}
    assert "isbn13=null & sort=id" in gone
    assert "isbn13= & sort=id" not in gone


def test_another_in_its_place_may_keep_it_all() -> None:
    short = Path("ix_short", (Key("title"),))
    contract = replace(books, paths=(*books.paths, short))
    assert lost(contract, short, Path("ix_short", (Key("title"), id_up))) == []
    listed = Path("ix_listed", (Key("title"), id_up))
    contract = replace(books, paths=(*books.paths, listed))
    gone = lost(contract, listed, Path("ix_listed", (Key("title"), Key("language"), id_up)))
    assert "title= & sort=id" in {str(shape_of(contract, question)) for question in gone}
