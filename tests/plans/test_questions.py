"""Questions with values: each value, each range and each order of a combination, and where its pages begin."""

from dataclasses import replace
from typing import Any

import pytest

from service.contract.question import Question, Sort
from service.contract.search import SearchPath
from service.contract.served import Served, served
from service.db import surface
from service.plans.questions import chosen, lacking, lasts, questions
from tests.fixtures.parcels import Parcel

SEARCHES = (SearchPath("ix_labels", "icontains", "label__folded"), SearchPath("ix_papers", "has", "papers"))
OF = replace(surface(Parcel), contract=replace(surface(Parcel).contract, searches=SEARCHES))
SAMPLES: dict[str, tuple[Any, Any]] = {
    "id": (1, 2),
    "zone": (3, 4),
    "weight": (10, 20),
    "posted": (30, 40),
    "label__folded": ("the house of cards", "zauberberg"),
    "papers": ({"a": 1, "b": 2}, {"c": {}}),
}


def combination(text: str) -> Served:
    """A combination by its first words."""
    return next(one for one in served(OF.contract) if str(one).startswith(text))


def test_a_list_is_asked_with_each_value_each_range_and_each_order() -> None:
    found = list(questions(OF, combination("[sort=-posted or posted]"), SAMPLES))
    assert {question.sort for question in found} == {None, (Sort("posted", descending=True),), (Sort("posted"),)}
    ends = {(one.lower and one.lower.value, one.upper and one.upper.value) for question in found for one in question.ranges}
    assert ends == {(30, None), (None, 40), (30, 40)}
    assert Question() in found
    zones = questions(OF, combination("zone= & sort=-weight"), SAMPLES)
    assert {question.equals["zone"] for question in zones} == {3, 4}


def test_a_key_that_may_be_null_is_asked_to_be_so() -> None:
    found = list(questions(OF, combination("zone= & weight= & sort="), SAMPLES))
    assert {question.equals["weight"] for question in found} == {10, 20, None}
    assert all(question.equals["zone"] is not None for question in found)


def test_a_predicate_gives_its_own_value() -> None:
    found = list(questions(OF, combination("zone= & delivered_at=null"), SAMPLES))
    assert {question.equals["delivered_at"] for question in found} == {None}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("label__icontains=", ["the", "the house of cards", "zauberberg"]),
        ("papers__has=", ['{"a": 1}', '{"a": 1, "b": 2}']),
    ],
)
def test_a_search_is_for_a_common_part_and_for_the_whole(text: str, expected: list[str]) -> None:
    """What the index has nothing to look for in is left out."""
    found = list(questions(OF, combination(text), SAMPLES))
    assert [question.searches[0].value for question in found][-len(expected) :] == expected


def test_a_prefix_is_the_beginning_of_a_value_that_has_one() -> None:
    one = combination("sort=label__folded")
    for values, expected in ((("abc", "x"), "ab"), (("", "x"), "x"), (("", ""), None)):
        found = questions(OF, one, {**SAMPLES, "label__folded": values})
        assert {asked.prefix for question in found for asked in question.ranges} == ({expected} if expected else set())


def test_what_has_no_value_is_named() -> None:
    samples = {name: SAMPLES[name] for name in ("id", "zone")}
    assert lacking(OF, combination("zone= & sort=-weight"), samples) == ["weight"]
    assert lacking(OF, combination("zone= & sort=label"), samples) == ["label"]
    assert lacking(OF, combination("label__icontains="), samples) == ["label__folded"]
    assert lacking(OF, combination("papers__has="), {"papers": ({}, {})}) == ["papers"]
    assert lacking(OF, combination("id="), samples) == []
    assert lacking(OF, combination("delivered_at=null & sort=zone"), {**SAMPLES, "delivered_at": (1, 2)}) == []


def test_a_page_begins_at_the_first_row_after_a_common_a_rare_and_a_null_one() -> None:
    choice = chosen(OF, Question())
    assert list(lasts(choice, SAMPLES)) == [
        None,
        {"posted": 30, "id": 1},
        {"posted": 40, "id": 2},
        {"posted": None, "id": 1},
    ]
    assert list(lasts(chosen(OF, Question({"id": 3})), SAMPLES)) == [None]


def test_a_question_that_isnt_served_is_no_question() -> None:
    with pytest.raises(LookupError, match="slot= is listed as served and isn't"):
        chosen(OF, Question({"slot": 7}))
