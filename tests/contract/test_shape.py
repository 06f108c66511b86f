"""Shapes: what of a question is kept, and that it is served or refused as the question was."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.contract.choose import choose
from service.contract.path import Contract, Term
from service.contract.question import Bound, Question, Range, Sort, Sought
from service.contract.shape import Shape, read, shape_of
from tests.contract.library import books, holds, loans
from tests.contract.strategies import contracts, questions

SECRET = "Dune"
CASES: dict[str, tuple[Contract, Question, str]] = {
    "nothing": (books, Question(), "everything"),
    "an equality": (books, Question({"title": SECRET}), "title="),
    "NULL": (loans, Question({"returned_at": None}), "returned_at=null"),
    "a literal of the contract's": (holds, Question({"status": "waiting"}), "status=waiting"),
    "a value that isn't": (holds, Question({"status": SECRET}), "status="),
    "two ends": (
        books,
        Question(ranges=(Range("id", Bound(5, inclusive=True), Bound(SECRET, inclusive=False)),)),
        "id__gt|gte|lt|lte=",
    ),
    "a prefix": (books, Question(ranges=(Range("title__folded", prefix=SECRET),)), "title__istartswith="),
    "several values": (books, Question(among={"title": (SECRET, "It")}), "title__in="),
    "a search": (books, Question(searches=(Sought("title__folded", "icontains", SECRET),)), "title__icontains="),
    "an order": (books, Question(sort=(Sort("title"), Sort("id"))), "sort=title"),
    "an order that ends the other way": (books, Question(sort=(Sort("title"), Sort("id", descending=True))), "sort=title,-id"),
    "an order that an equality fixes": (
        books,
        Question({"title": SECRET}, sort=(Sort("title"), Sort("isbn13"))),
        "title= & sort=isbn13",
    ),
    "an order of one row": (books, Question({"id": 1, "title": SECRET}, sort=(Sort("title"),)), "id= & title="),
    "all of it": (
        holds,
        Question(
            {"status": "waiting", "book_id": SECRET},
            (Range("placed_at", Bound(5, inclusive=True)),),
            sort=(Sort("placed_at"),),
        ),
        "book_id= & status=waiting & placed_at__gt|gte|lt|lte= & sort=placed_at",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_as_people_read_it_and_back_from_json(case: str) -> None:
    contract, question, text = CASES[case]
    shape = shape_of(contract, question)
    assert str(shape) == text
    assert read(shape.written()) == shape
    assert SECRET not in shape.written()
    assert shape_of(contract, shape.question(contract)) == shape


def test_values_ends_and_the_order_of_filters_make_no_other_shape() -> None:
    one = Question({"a": 1, "b": 2}, (Range("c", Bound(1, inclusive=True)),), {"d": (1, 2), "e": (3,)})
    other = Question({"b": 5, "a": 7}, (Range("c", upper=Bound(9, inclusive=False)),), {"e": (4,), "d": (8,)})
    assert shape_of(books, one) == shape_of(books, other)
    assert shape_of(books, one).written() == shape_of(books, other).written()


def test_a_null_and_a_value_are_two_shapes() -> None:
    assert len({shape_of(loans, Question({"returned_at": value})) for value in (None, 1, 2)}) == 2


def test_a_literal_that_the_contract_has_forgotten_is_any_value() -> None:
    shape = shape_of(holds, Question({"status": "waiting"}))
    without = replace(holds, paths=())
    assert shape_of(without, shape.question(without)) == Shape((("status", "any"),))


def test_truth_is_spelled_as_in_urls() -> None:
    contract = replace(books, paths=(replace(books.paths[0], predicate=(Term("open", value=True),)),))
    shape = shape_of(contract, Question({"open": True}))
    assert str(shape) == "open=true"
    assert shape.question(contract).equals == {"open": True}


def test_its_names() -> None:
    contract, question, _ = CASES["all of it"]
    assert shape_of(contract, question).names == {"book_id", "status", "placed_at"}


@given(st.data())
@settings(max_examples=400, deadline=None)
def test_a_shape_is_served_exactly_where_its_question_is(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    served = choose(contract, question)
    stood_in = choose(contract, shape_of(contract, question).question(contract))
    assert (served and (served.path, served.kind, served.lead)) == (stood_in and (stood_in.path, stood_in.kind, stood_in.lead))


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "5", "{", '{"equals": 5}', '{"equals": {"a": 5}}', '{"sort": 5}', '{"among": 5}']
)
def test_what_is_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match="isn't the shape of a question"):
        read(text)
