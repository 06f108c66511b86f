"""The ledger, sorted: what an index could serve, what none can and why, what is served by now, what is gone."""

import datetime
from dataclasses import replace

import pytest

from service.contract.choose import choose
from service.contract.question import Bound, Question, Range, Sort, Sought
from service.contract.served import SOME
from service.contract.shape import Shape, shape_of
from service.db import Surface, surface
from service.plans import wishes
from service.plans.ledger import OTHERS, OTHERS_SHOWN, Refused
from service.plans.wishes import NONE_ALONE, ONLY_UNIQUE, TWO_FILTERS, TWO_RANGES, heard, hopeless
from tests.contract.library import books
from tests.fixtures.parcels import Parcel

NOW = datetime.datetime(2026, 11, 22, tzinfo=datetime.UTC)
OF: Surface = surface(Parcel)
SOME_RANGE = Bound(SOME, inclusive=True)


def row(question: Question, times: int = 1, table: str = "parcels") -> Refused:
    """A row of the ledger."""
    shape = shape_of(OF.contract, question)
    return Refused(table, shape.written(), str(shape), times, NOW, NOW)


def test_sorted() -> None:
    rows = [
        row(Question({"label": SOME}), 9),
        row(Question({"label": SOME}, (Range("weight", SOME_RANGE), Range("posted", SOME_RANGE))), 8),
        row(Question({"zone": SOME}, sort=(Sort("weight", descending=True), Sort("id"))), 7),
        row(Question({"colour": SOME}), 6),
        row(Question({"label": SOME}), 5, "letters"),
        Refused("parcels", "no JSON", "label=", 4, NOW, NOW),
        Refused("parcels", OTHERS, OTHERS_SHOWN, 3, NOW, NOW),
        Refused("parcels", Shape((("label", "any"),), sort="colour").written(), "label= & sort=colour", 2, NOW, NOW),
    ]
    found = heard([OF], rows)
    assert [(str(wish), wish.table, wish.times) for wish in found.wishes] == [("label=", "parcels", 9)]
    assert found.hopeless == [(rows[1], TWO_RANGES)]
    assert found.served == [rows[2]]
    assert found.gone == [rows[3], rows[4], rows[5], rows[7]]
    assert found.unseen == [rows[6]]


def test_a_wish_can_be_put_to_choose() -> None:
    (wish,) = heard([OF], [row(Question({"label": "a secret", "delivered_at": None}))]).wishes
    assert wish.question.equals.keys() == {"label", "delivered_at"}
    assert wish.question.equals["delivered_at"] is None
    assert choose(OF.contract, wish.question) is None


def test_only_the_most_refused_are_thought_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wishes, "WISHES_MOST", 1)
    rows = [row(Question({"label": SOME})), row(Question({"sender": SOME}))]
    found = heard([OF], rows)
    assert (len(found.wishes), found.unseen) == (1, [rows[1]])


AFTER = (Range("published_year", SOME_RANGE),)
WHY = {
    "two ranges": (Question(ranges=(*AFTER, Range("id", SOME_RANGE))), TWO_RANGES),
    "a search and a filter": (
        Question({"language": SOME}, searches=(Sought("title__folded", "icontains", ""),)),
        TWO_FILTERS,
    ),
    "values and a range": (Question(ranges=AFTER, among={"isbn13": (SOME,)}), ONLY_UNIQUE),
    "values of two columns": (Question(among={"isbn13": (SOME,), "language": (SOME,)}), ONLY_UNIQUE),
}


@pytest.mark.parametrize("case", WHY)
def test_why_no_index_can(case: str) -> None:
    question, why = WHY[case]
    assert hopeless(books, question) == why


def test_a_range_in_another_order_is_told_the_way_out() -> None:
    served = Question({"author_id": SOME}, AFTER, sort=(Sort("title"),))
    assert str(hopeless(books, served)).endswith("sort=published_year, and so it is served")
    could = Question({"title": SOME}, (Range("ratings_count", SOME_RANGE),))
    assert str(hopeless(books, could)).endswith(
        'so it could be served: Index("ix_books_title_ratings_count", title, ratings_count, id)'
    )


def test_an_order_that_no_index_is_total_in() -> None:
    contract = replace(books, primary=("library", "id"), paths=())
    assert hopeless(contract, Question({"library": SOME}, sort=(Sort("title"),))) == NONE_ALONE


@pytest.mark.parametrize(
    "question",
    [
        Question(),
        Question({"title": SOME}),
        Question({"title": SOME}, AFTER),
        Question(among={"title": (SOME,)}),
        Question(searches=(Sought("title__folded", "icontains", ""),)),
    ],
)
def test_what_an_index_could_serve(question: Question) -> None:
    assert hopeless(books, question) is None
