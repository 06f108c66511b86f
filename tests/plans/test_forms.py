"""The forms in which a question is sent. That routes send the same is in tests/http/test_proven.py."""

import datetime
import enum
import re

import pytest
from sqlalchemy import Column, Enum, select

from service.contract.question import Bound, Question, Range, Sort
from service.db.statements import Asked
from service.plans.explain import EXPLAIN, Node
from service.plans.forms import FORMS, PAGE, Counted, Estimated, Narrow, Page, written
from tests.fixtures import forms
from tests.fixtures.forms import DIALECT, sent
from tests.fixtures.parcels import Parcel

DAY = datetime.date(2026, 9, 1)
HEAVY = Question(
    {"zone": 7}, (Range("weight", lower=Bound(19, inclusive=True)),), sort=(Sort("weight", descending=True), Sort("id"))
)


def asked(question: Question) -> Asked:
    """A question about parcels that is served."""
    return forms.asked(Parcel, question)


def test_values_come_in_the_order_of_their_numbers_and_as_the_driver_takes_them() -> None:
    found = sent(Page(), asked(HEAVY), {"weight": 20, "id": 3})
    numbers = [int(number) for number in re.findall(r"\$(\d+)", found.sql)]
    assert sorted(set(numbers)) == list(range(1, len(found.values) + 1))
    assert set(found.values) == {7, 19, 20, 3}
    assert sent(FORMS[-1], asked(Question(among={"id": (5, 6)}))).values == (5, 6)


class Colour(enum.Enum):
    """Members whose name isn't their value."""

    RED = "rot"


def test_values_of_a_type_of_pythons_own_are_sent_as_the_database_knows_them() -> None:
    colour: Column[Colour] = Column("colour", Enum(Colour))
    assert written(select(colour).where(colour == Colour.RED), DIALECT).values == ("RED",)
    assert written(select(colour).where(colour.in_([Colour.RED])), DIALECT).values == ("RED",)


def test_a_page_selects_what_a_cursor_is_made_of() -> None:
    found = sent(Page(), asked(Question(sort=(Sort("label__folded"),)))).sql
    assert "AS label__folded" in found.partition("FROM")[0]
    assert f"LIMIT {PAGE}" in found


def test_a_count_is_made_once_and_not_for_each_page() -> None:
    for form in (Counted(), Estimated()):
        assert form.sent(asked(Question()), {"posted": DAY, "id": 3}, DIALECT) is None
    assert sent(Estimated(), asked(Question())).sql.startswith(EXPLAIN)


def test_a_count_is_made_in_the_order_of_the_index_whichever_way_the_list_goes() -> None:
    forward, backward = (sent(Counted(), asked(Question(sort=(Sort("posted", descending=down),)))) for down in (True, False))
    assert forward == backward
    assert "ORDER BY parcels.posted DESC NULLS LAST, parcels.id DESC" in forward.sql


def test_a_count_that_is_no_walk_to_a_cap_is_found() -> None:
    scan = {"Node Type": "Index Only Scan", "Index Name": "ix_parcels_by_posted"}
    walk = {"Node Type": "Aggregate", "Plans": [{"Node Type": "Limit", "Plans": [scan]}]}
    assert Counted().broken(Node(walk), asked(Question()), ()) == []
    assert Counted().broken(Node({**walk, "Plans": [scan]}), asked(Question()), ()) == ["no limit around all of it"]
    assert Counted().broken(Node(scan), asked(Question()), ()) == ["an Index Only Scan where one aggregate was promised"]


@pytest.mark.parametrize(
    ("kind", "faults"), [("Index Only Scan", []), ("Index Scan", ["an Index Scan: the index holds all that was asked for"])]
)
def test_a_page_of_what_the_index_holds_doesnt_visit_the_table(kind: str, faults: list[str]) -> None:
    plan = Node({"Node Type": "Limit", "Plans": [{"Node Type": kind, "Index Name": "ix_parcels_by_posted"}]})
    assert Narrow().broken(plan, asked(Question()), ()) == faults
    assert Page().broken(plan, asked(Question()), ()) == []


NARROW = {
    "columns": (Question(), ["id", "posted"]),
    "an expression": (Question(sort=(Sort("label__folded"),)), []),
    "a predicate": (Question({"zone": 7, "delivered_at": None}, sort=(Sort("posted"),)), []),
    "no primary key": (Question({"zone": 7}, sort=(Sort("slot", descending=True),)), []),
    "a lookup": (Question({"id": 7}), []),
}


@pytest.mark.parametrize("case", NARROW)
def test_only_an_index_of_whole_columns_with_the_primary_key_is_read_alone(case: str) -> None:
    question, expected = NARROW[case]
    assert Narrow().columns(asked(question)) == expected


def test_rows_by_key_are_asked_for_by_nothing_else() -> None:
    (by_key,) = (form for form in FORMS if form.name == "by key")
    assert by_key.sent(asked(HEAVY), None, DIALECT) is None
    assert by_key.sent(asked(Question(among={"code": ("x",)})), None, DIALECT) is None
    assert sent(by_key, asked(Question({"id": 7}))).sql.endswith("WHERE parcels.id = $1::BIGINT")
