"""What a refusal says, and that it is true: both of its ways out lead to a question that is served."""

import re
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.contract.choose import choose
from service.contract.line import index_line
from service.contract.path import Contract, Key, Path
from service.contract.question import FOLDED, Bound, Question, Range, Sort
from service.contract.refusal import Refusal, refuse
from service.contract.served import SOME, served
from tests.contract.library import books, holds, loans
from tests.contract.strategies import contracts, questions

EIGHT = Bound(8, inclusive=True)
byte_of_many = "ü" * 40


def down(name: str) -> Sort:
    """A key of an order, descending."""
    return Sort(name, descending=True)


SAID: dict[str, tuple[Contract, Question, Refusal]] = {
    "a filter that no index leads with": (
        books,
        Question({"ratings_count": 7}),
        Refusal(
            "ratings_count= & sort=-published_year,-id",
            (),
            "add language=, ask for sort=-id or id",
            'Index("ix_books_ratings_count_published_year", ratings_count, published_year.desc().nulls_last(), id.desc())',
        ),
    ),
    "a filter too many": (
        books,
        Question({"author_id": 7, "language": "en"}),
        Refusal(
            "author_id= & language= & sort=-published_year,-id",
            (),
            "leave out language=",
            'Index("ix_books_author_id_language_published_year", author_id, language, '
            "published_year.desc().nulls_last(), id.desc())",
        ),
    ),
    "an order": (
        books,
        Question({"author_id": 7}, sort=(Sort("title"),)),
        Refusal(
            "author_id= & sort=title,id",
            (),
            "ask for sort=-published_year or published_year",
            'Index("ix_books_author_id_title", author_id, title, id)',
        ),
    ),
    "an order over NULLs, and folded": (
        books,
        Question({"title__folded": "it"}, sort=(Sort("language"), down("isbn13"))),
        Refusal(
            "title__iexact= & sort=language,-isbn13,-id",
            (),
            "ask for sort=id or -id",
            'Index("ix_books_title_folded_language_isbn13", folded(title), '
            "language.asc().nulls_first(), isbn13.desc().nulls_last(), id.desc())",
        ),
    ),
    "folded keys in an order": (
        books,
        Question({"language": None}, sort=(down("title__folded"),)),
        Refusal(
            "language=null & sort=-title__folded,-id",
            (),
            "ask for sort=-ratings_count or ratings_count",
            'Index("ix_books_language_title_folded", language, folded(title).desc(), id.desc())',
        ),
    ),
    "a case-sensitive title where only a folded one is served": (
        books,
        Question({"title": "It"}),
        Refusal(
            "title= & sort=-published_year,-id",
            (),
            "ask whatever the case: title__iexact=, ask for sort=id or -id",
            'Index("ix_books_title_published_year", title, published_year.desc().nulls_last(), id.desc())',
        ),
    ),
    "null, where a lookup needs a value": (
        books,
        Question({"isbn13": None}),
        Refusal(
            "isbn13=null & sort=-published_year,-id",
            (),
            "leave out isbn13=null",
            'Index("ix_books_isbn13_published_year", isbn13, published_year.desc().nulls_last(), id.desc())',
        ),
    ),
    "a range without its order": (
        books,
        Question({"language": "en"}, (Range("ratings_count", EIGHT),)),
        Refusal(
            "language= & ratings_count__gte= & sort=-published_year,-id", (), "ask for sort=-ratings_count or ratings_count", None
        ),
    ),
    "two ranges": (
        books,
        Question({}, (Range("published_year", EIGHT, EIGHT), Range("id", EIGHT))),
        Refusal(
            "published_year__gte= & published_year__lte= & id__gte= & sort=-published_year,-id", (), "leave out id__gte=", None
        ),
    ),
    "some values in an order": (
        books,
        Question(among={"isbn13": ("x",)}, sort=(Sort("id"),)),
        Refusal("isbn13__in= & sort=id", (), "leave out sort=", None),
    ),
    "some values of a key that isn't unique": (
        books,
        Question(among={"author_id": (1,)}),
        Refusal("author_id__in=", (), "leave out author_id__in=", None),
    ),
    "a filter besides the primary key": (
        books,
        Question({"id": 5, "title": "It"}),
        Refusal("id= & title=", (), "leave out title=", 'Index("ix_books_title", title, id)'),
    ),
    "everything, where that is refused on purpose": (
        loans,
        Question(),
        Refusal(
            "sort=-borrowed_at,-id",
            (),
            "ask for sort=copy_id,-borrowed_at or -copy_id,borrowed_at",
            'Index("ix_loans_borrowed_at", borrowed_at.desc(), id.desc())',
        ),
    ),
    "a filter that a predicate needs": (
        holds,
        Question({"book_id": 3}),
        Refusal(
            "book_id= & sort=placed_at,id", (), "add status=waiting", 'Index("ix_holds_book_id_placed_at", book_id, placed_at, id)'
        ),
    ),
    "another value than a predicate's": (
        holds,
        Question({"book_id": 3, "status": "ready"}),
        Refusal(
            "book_id= & status= & sort=placed_at,id",
            (),
            "leave out status=, add status=waiting",
            'Index("ix_holds_book_id_status_placed_at", book_id, status, placed_at, id)',
        ),
    ),
    "a predicate's value, in another order": (
        holds,
        Question({"book_id": 3, "status": "waiting"}, sort=(Sort("ready_at"),)),
        Refusal(
            "book_id= & status= & sort=ready_at,id",
            (),
            "ask for sort=placed_at or -placed_at",
            'Index("ix_holds_book_id_status_ready_at", book_id, status, ready_at, id)',
        ),
    ),
    "a range that must be given": (
        holds,
        Question(sort=(Sort("slip"),)),
        Refusal(
            "sort=slip,id",
            (),
            "add a range: slip__gt= or slip__gte= or slip__lt= or slip__lte=",
            'Index("ix_holds_slip", slip.asc().nulls_first(), id)',
        ),
    ),
    "a table without indexes": (
        replace(books, paths=(), default_order=()),
        Question(),
        Refusal("sort=id", (), None, 'Index("ix_books", id)'),
    ),
}


@pytest.mark.parametrize(("contract", "question", "said"), SAID.values(), ids=SAID.keys())
def test_what_a_refusal_says(contract: Contract, question: Question, said: Refusal) -> None:
    assert choose(contract, question) is None
    assert refuse(contract, question) == replace(said, served=tuple(map(str, served(contract))))


def test_a_caller_who_always_asks_with_an_equality_is_told_what_goes_with_it() -> None:
    question = Question({"member_id": 7, "copy_id": 8})
    refusal = refuse(loans, question, {"member_id"})
    assert refusal.served
    assert all("member_id=" in offer.split(" & ") for offer in refusal.served)
    assert set(refusal.served) < set(refuse(loans, question).served)
    assert refusal.nearest == "leave out copy_id="
    assert refuse(loans, question, {"renewals"}).nearest is None


def test_a_name_is_no_longer_than_postgresql_takes() -> None:
    for prefix in ("", "x"):
        line = index_line(replace(books, table=prefix + byte_of_many), Question(sort=(Sort("title"),)))
        assert line
        name = line.split('"')[1]
        assert 61 < len(name.encode()) <= 63
        assert name == ("ix_" + prefix + byte_of_many)[: len(name)]


def test_an_index_for_two_primary_key_columns_of_which_one_is_fixed_is_no_total_order_so_far() -> None:
    contract = replace(books, primary=("library", "id"), paths=())
    assert index_line(contract, Question({"library": 1}, sort=(Sort("title"),))) is None
    assert index_line(contract, Question({"author_id": 1}, sort=(Sort("title"),)))


trial = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@trial
@given(st.data())
def test_the_index_line_makes_the_question_served(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    assume(choose(contract, question) is None)
    line = refuse(contract, question).index
    if line is None:
        assert question.among or question.ranges or len(contract.primary) > 1
    else:
        served = replace(contract, paths=(read_line(line, contract),))
        in_order = replace(question, sort=question.sort or tuple(Sort(found.name) for found in question.ranges) or None)
        choice = choose(served, question) or choose(served, in_order)
        assert choice
        assert choice.kind == "list"


def read_line(line: str, contract: Contract) -> Path:
    """The path that an `Index(...)` line declares; PostgreSQL keeps NULLs first in descending keys unless told otherwise."""
    written = re.fullmatch(r'Index\("(\w+)", (.+)\)', line)
    assert written
    return Path(written[1], tuple(read_key(key, contract) for key in written[2].split(", ")))


def read_key(text: str, contract: Contract) -> Key:
    """One key of the line, with PostgreSQL's defaults."""
    written = re.fullmatch(r"(?:folded\((\w+)\)|(\w+))(\.desc\(\)|\.asc\(\))?(\.nulls_(?:first|last)\(\))?", text)
    assert written, text
    folded, plain, direction, nulls = written.groups()
    descending = direction == ".desc()"
    name = folded + FOLDED if folded else plain
    return Key(name, descending, nulls == ".nulls_first()" if nulls else descending, name in contract.nullable)


@trial
@given(st.data())
def test_the_nearest_question_is_served(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    assume(choose(contract, question) is None)
    nearest = refuse(contract, question).nearest
    assert (nearest is None) == (not served(contract))
    for changed in followed(nearest or "", question):
        assert choose(contract, changed), f"{question}: {nearest}"


def followed(advice: str, question: Question) -> Iterator[Question]:
    """The questions that somebody might ask who follows the advice."""
    orders: list[tuple[Sort, ...] | None] = [question.sort]
    bounds: list[str | None] = [None]
    for step in re.split(r", (?=leave out|add|ask for)", advice):
        verb, _, rest = re.sub(r"^(leave out|add a range:|add|ask for sort=)", r"\1|", step).partition("|")
        if verb == "leave out":
            question = without(question, rest.strip().split(" and "))
            orders = [question.sort]
        elif verb == "add":
            question = replace(question, equals={**question.equals, **dict(map(added, rest.strip().split(" and ")))})
        elif verb == "add a range:":
            bounds = [*rest.strip().split(" or ")]
        else:
            assert verb == "ask for sort=", advice
            orders = [tuple(Sort(key.lstrip("-"), key.startswith("-")) for key in text.split(",")) for text in rest.split(" or ")]
    for order in orders:
        for bound in bounds:
            ranges = (Range(bound.rpartition("__")[0], Bound(1, inclusive=True)),) if bound else question.ranges
            yield replace(question, ranges=ranges, sort=order)


def without(question: Question, parameters: list[str]) -> Question:
    """The question with some parameters left out."""
    left = {name: value for name, value in question.equals.items() if {f"{name}=", f"{name}=null"}.isdisjoint(parameters)}
    ranges = tuple(found for found in question.ranges if not any(text.startswith(f"{found.name}__") for text in parameters))
    among = {name: values for name, values in question.among.items() if f"{name}__in=" not in parameters}
    return Question(left, ranges, among, None if "sort=" in parameters else question.sort)


def added(parameter: str) -> tuple[str, object]:
    """The equality that a parameter adds."""
    name, _, value = parameter.partition("=")
    return name, None if value == "null" else int(value) if value else SOME
