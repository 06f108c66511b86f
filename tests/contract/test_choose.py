"""Each rule of the contract in a case or two. That the answers are right is shown in test_answers.py."""

from dataclasses import replace

import pytest

from service.contract.choose import choose, completed, implied
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import FOLDED, Bound, Question, Range, Sort
from tests.contract.library import books, holds, id_down, id_up, loans

TWO = Bound(2, inclusive=True)
pk = Path("pk", (id_up,), unique=True)


def order(text: str) -> tuple[Sort, ...]:
    """An order as `sort=` spells it."""
    return tuple(Sort(part.lstrip("-"), part.startswith("-")) for part in text.split(",") if part)


def asked(equals: str = "", *, over: str = "", among: str = "", sort: str | None = None, **values: object) -> Question:
    """A question, in few words: names that must be equal to 1, or to what `values` say."""
    given = {name: values.get(name, 1) for name in equals.split()} | values
    ranges = tuple(Range(name, lower=TWO) for name in over.split())
    return Question(given, ranges, dict.fromkeys(among.split(), (1, 2)), None if sort is None else order(sort))


def served(contract: Contract, question: Question) -> str | None:
    """The kind and name of the choice."""
    choice = choose(contract, question)
    return f"{choice.kind} {choice.path.name}" if choice else None


SERVED: dict[str, tuple[Contract, Question, str]] = {
    "the primary key's own index is a path": (books, asked(sort="id"), "list pk_books"),
    "a scan may go backward": (books, asked(sort="-id"), "list pk_books"),
    "equalities on a leading run, then the order": (books, asked("author_id"), "list ix_books_by_author"),
    "all of it backward": (books, asked("author_id", sort="published_year"), "list ix_books_by_author"),
    "a longer leading run": (books, asked("author_id published_year", sort="-id"), "list ix_books_by_author"),
    "a range on the next key": (books, asked("author_id", over="published_year"), "list ix_books_by_author"),
    "a leading key that is null": (books, asked(language=None, sort="-ratings_count"), "list ix_books_by_language"),
    "the default order": (books, asked(), "list ix_books_newest"),
    "a sort key that an equality fixes is dropped": (
        books, asked("author_id", sort="author_id,-published_year"), "list ix_books_by_author",
    ),
    "the primary key may be spelled": (books, asked("author_id", sort="-published_year,-id"), "list ix_books_by_author"),
    "nothing counts after the primary key": (books, asked(sort="id,title"), "list pk_books"),
    "a unique lookup": (books, asked("isbn13"), "one uq_books_isbn13"),
    "a lookup whatever the order": (books, asked("isbn13", sort="title"), "one uq_books_isbn13"),
    "a composite unique lookup": (books, asked("source_key source"), "one uq_books_source"),
    "some values of a unique key": (books, asked(among="isbn13"), "many uq_books_isbn13"),
    "some values of the primary key": (books, asked(among="id"), "many pk_books"),
    "a strictly unique index needs no primary key": (books, asked(sort="source,source_key"), "list uq_books_source"),
    "nor minds its direction": (books, asked(sort="source,source_key,-id"), "list uq_books_source"),
    "a strictly unique index after an equality": (books, asked("source", sort="-source_key"), "list uq_books_source"),
    "an expression by its name": (books, asked(sort="title__folded"), "list ix_books_by_title"),
    "an expression's equality": (books, asked("title__folded", sort="id"), "list ix_books_by_title"),
    "a prefix": (
        books, Question(ranges=(Range("title__folded", prefix="a"),), sort=order("title__folded")), "list ix_books_by_title",
    ),
    "a range makes up for NULLs in the wrong place": (
        replace(books, paths=(pk, Path("last", (Key("published_year", nullable=True), id_up)))),
        asked(over="published_year", sort="published_year"),
        "list last",
    ),
    "a predicate that is asked for": (loans, asked(returned_at=None, sort="due_on"), "list ix_loans_due"),
    "a lookup in a partial index": (loans, asked("copy_id", returned_at=None), "one uq_loans_open"),
    "some values in a partial index": (loans, Question({"returned_at": None}, among={"copy_id": (1,)}), "many uq_loans_open"),
    "partial, with more equalities": (loans, asked("member_id", returned_at=None), "list ix_loans_open_by_member"),
    "whole, without the predicate": (loans, asked("member_id"), "list ix_loans_by_member"),
    "a literal in a predicate": (holds, asked("book_id", status="waiting"), "list ix_holds_waiting"),
    "a range says that there is a value": (holds, asked(over="expires_at", sort="expires_at"), "list ix_holds_ready"),
    "an equality says so too": (holds, asked("expires_at", sort="id"), "list ix_holds_ready"),
    "and a lookup": (holds, asked("slip"), "one uq_holds_slip"),
    "and some values": (holds, asked(among="slip"), "many uq_holds_slip"),
}  # fmt: skip


@pytest.mark.parametrize(("contract", "question", "path"), SERVED.values(), ids=SERVED.keys())
def test_served(contract: Contract, question: Question, path: str) -> None:
    assert served(contract, question) == path


REFUSED: dict[str, tuple[Contract, Question]] = {
    "an order that no index gives": (books, asked("author_id", sort="title")),
    "an order that goes on after a strictly unique index": (books, asked(sort="source,source_key,title")),
    "the other direction of one key only": (books, asked("author_id", sort="-published_year,id")),
    "a key that doesn't lead": (books, asked("published_year source_key", sort="-id")),
    "a filter that no key covers": (books, asked("author_id title")),
    "a filter besides a lookup": (books, asked("isbn13 title")),
    "a filter after a gap": (books, asked("author_id id")),
    "a range that isn't on the next key": (books, asked("author_id", over="id")),
    "a range besides an order of another key": (books, asked("language", over="ratings_count")),
    "two ranges": (books, asked(over="published_year id")),
    "a range on a key that is fixed": (books, asked("author_id published_year", over="published_year", sort="-id")),
    "a range besides a lookup": (books, asked("isbn13", over="id")),
    "a range alone doesn't name an order": (books, asked(over="id")),
    "null on a unique key is no lookup": (books, asked(isbn13=None)),
    "a unique key that may be null gives no list": (books, asked(sort="isbn13")),
    "part of a composite unique key": (books, asked("source")),
    "some values of part of a unique key": (books, asked(among="source")),
    "some values of a key that isn't unique": (books, asked(among="author_id")),
    "some values of a folded name, which no parameter spells": (
        Contract("authors", ("id",), (pk, Path("uq", (Key("name" + FOLDED, text=True),), unique=True))),
        asked(among="name__folded"),
    ),
    "some values of two keys": (books, asked(among="isbn13 id")),
    "some values in an order": (books, asked(among="isbn13", sort="id")),
    "some values and a filter": (books, asked("author_id", among="isbn13")),
    "some values and a range": (books, asked(over="id", among="isbn13")),
    "NULLs in the wrong place": (
        replace(books, paths=(pk, Path("last", (Key("published_year", nullable=True), id_up)))), asked(sort="published_year"),
    ),
    "a plain column doesn't ride an expression": (books, asked(sort="title")),
    "a partial index without its predicate": (loans, asked(sort="due_on")),
    "a partial index with another value": (holds, asked("book_id", status="ready")),
    "a value where the predicate says null": (loans, asked("returned_at", sort="due_on")),
    "null where the predicate says there is a value": (holds, asked(expires_at=None, sort="id")),
    "no filter where the predicate says there is a value": (holds, asked(sort="expires_at")),
    "a list without what its default order needs": (loans, asked()),
}  # fmt: skip


@pytest.mark.parametrize(("contract", "question"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(contract: Contract, question: Question) -> None:
    assert served(contract, question) is None


def alone(*keys: Key, unique: bool = False, **more: object) -> Contract:
    """A contract of one index."""
    return Contract("things", ("id",), (Path("ix", keys, unique, **more),))  # type: ignore[arg-type]


def test_an_index_that_is_no_total_order_serves_no_list() -> None:
    assert served(alone(Key("a")), asked(sort="a")) is None
    assert served(alone(Key("a")), asked("a")) is None
    assert served(alone(Key("a")), asked(among="a")) is None
    assert served(alone(Key("a"), id_up), asked(sort="a")) == "list ix"


def test_a_unique_index_is_a_total_order_when_no_key_may_be_null() -> None:
    assert served(alone(Key("a"), unique=True), asked(sort="a")) == "list ix"
    assert served(alone(Key("a", nulls_first=True, nullable=True), unique=True), asked(sort="a")) is None
    assert served(alone(Key("a", nulls_first=True, nullable=True), unique=True, nulls_equal=True), asked(sort="a")) == "list ix"
    present = (Term("a", negated=True),)
    assert served(alone(Key("a", nullable=True), unique=True, predicate=present), asked(over="a", sort="a")) == "list ix"


def test_where_a_key_that_is_never_null_would_place_nulls_does_not_matter() -> None:
    for nulls_first in (True, False):
        assert served(alone(Key("a", nulls_first=nulls_first), id_up), asked(sort="a")) == "list ix"
        assert served(alone(Key("a", nulls_first=nulls_first), id_up), asked(sort="-a")) == "list ix"


def test_a_nullable_key_must_place_nulls_as_smaller_than_any_value() -> None:
    for descending, nulls_first in ((False, True), (True, False)):
        right = Key("a", descending, nulls_first, nullable=True)
        ending = Key("id", descending)
        for sort in ("a", "-a"):
            assert served(alone(right, ending), asked(sort=sort)) == "list ix"
            assert served(alone(replace(right, nulls_first=not nulls_first), ending), asked(sort=sort)) is None


def test_of_several_paths_the_one_with_most_equalities_then_the_first_name() -> None:
    wide = Path("z_wide", (Key("a"), Key("b"), id_up))
    partial = Path("a_partial", (Key("b"), id_up), predicate=(Term("a", 1),))
    again = replace(wide, name="b_wide")
    assert served(Contract("things", ("id",), (partial, wide)), asked("a b")) == "list z_wide"
    for paths in ((partial, wide, again), (again, wide, partial)):
        assert served(Contract("things", ("id",), paths), asked("a b")) == "list b_wide"


def test_a_primary_key_of_two_columns_counts_from_the_first_place_where_it_stands() -> None:
    unique = Contract("things", ("id", "no"), (Path("uq", (Key("a"), Key("b")), unique=True),))
    assert served(unique, asked(sort="a,b")) == "list uq"
    assert served(unique, asked(sort="id,a,b")) is None
    assert served(unique, asked(sort="a,id,b")) is None


def test_a_choice_tells_how_the_scan_meets_its_keys() -> None:
    choice = choose(books, asked("author_id", sort="published_year"))
    assert choice
    assert choice.lead == 1
    assert choice.keys == (
        Key("author_id", descending=True, nulls_first=True), Key("published_year", nulls_first=True, nullable=True), id_up,
    )  # fmt: skip
    assert choice.walked == choice.keys[1:]
    assert choice.order == order("published_year,id")


def test_a_scan_forward_keeps_nulls_where_the_index_declares_them() -> None:
    choice = choose(books, asked("author_id", over="published_year"))
    assert choice
    assert choice.walked == (Key("published_year", descending=True), id_down)  # a range holds no NULL


COMPLETED = {
    "the default order": (books, asked(), "-published_year,-id"),
    "the primary key where there is no default": (replace(books, default_order=()), asked(), "id"),
    "an empty sort is no default": (books, asked(sort=""), "id"),
    "the direction of the last key": (books, asked(sort="title,-isbn13"), "title,-isbn13,-id"),
    "not twice": (books, asked(sort="title,-title,id"), "title,id"),
    "without what is fixed": (books, asked("title", sort="title,-isbn13"), "-isbn13,-id"),
    "the direction is the question's, though the key is fixed": (books, asked("isbn13", sort="title,-isbn13"), "title,-id"),
    "nothing after the primary key": (books, asked(sort="-id,title"), "-id"),
    "nothing where the primary key is fixed": (books, asked("id", sort="title"), ""),
    "a composite key": (replace(books, primary=("source", "source_key")), asked(sort="-title"), "-title,-source,-source_key"),
    "part of it was named": (replace(books, primary=("source", "source_key")), asked(sort="source_key"), "source_key,source"),
    "part of it is fixed": (replace(books, primary=("source", "source_key")), asked("source", sort="-title"), "-title,-source_key"),
}


@pytest.mark.parametrize(("contract", "question", "whole"), COMPLETED.values(), ids=COMPLETED.keys())
def test_an_order_is_completed_from_the_question_alone(contract: Contract, question: Question, whole: str) -> None:
    assert completed(contract, question) == order(whole)
    assert completed(replace(contract, paths=()), question) == order(whole)


IMPLIED = {
    "the same value": (Term("a", 1), asked("a"), True),
    "another value": (Term("a", 2), asked("a"), False),
    "no filter": (Term("a", 1), asked("b"), False),
    "null": (Term("a"), asked(a=None), True),
    "a value for null": (Term("a"), asked("a"), False),
    "nothing for null": (Term("a"), asked(), False),
    "a range isn't one value": (Term("a", 1), asked(over="a"), False),
    "a value is there": (Term("a", negated=True), asked("a"), True),
    "null isn't": (Term("a", negated=True), asked(a=None), False),
    "a range is": (Term("a", negated=True), asked(over="a"), True),
    "some values are": (Term("a", negated=True), asked(among="a"), True),
    "another's range isn't": (Term("a", negated=True), asked(over="b"), False),
    "inequality is never implied": (Term("a", 2, negated=True), asked("a"), False),
    "least of all by the value that it excludes": (Term("a", 1, negated=True), asked("a"), False),
}


@pytest.mark.parametrize(("term", "question", "expected"), IMPLIED.values(), ids=IMPLIED.keys())
def test_implied(term: Term, question: Question, expected: bool) -> None:
    assert implied(term, question) is expected
