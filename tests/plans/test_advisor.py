"""What is suggested serves what was wished for, takes nothing away, and is as little as can be."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.contract.choose import choose
from service.contract.path import Contract, Key, Path
from service.contract.probing import lost, probes
from service.contract.question import Bound, Question, Range, Sort, Sought
from service.contract.search import SearchPath
from service.contract.served import SOME
from service.contract.shape import shape_of
from service.plans import advisor
from service.plans.advisor import Advice, Ground, Suggestion, advise
from service.plans.wishes import Wish, hopeless
from tests.contract.library import books, holds, loans
from tests.contract.strategies import contracts, questions

DOWN = Sort("published_year", descending=True)


def wishes(contract: Contract, asked: Sequence[Question], times: Sequence[int] = ()) -> list[Wish]:
    """The wishes that refused questions come to, as the ledger would have them: by shape."""
    counted: dict[str, Wish] = {}
    for at, question in enumerate(asked):
        shape = shape_of(contract, question)
        before = counted.get(shape.written())
        more = (times[at] if times else 1) + (before.times if before else 0)
        counted[shape.written()] = Wish(contract.table, shape, shape.question(contract), more)
    return sorted(counted.values(), key=lambda wish: -wish.times)


def ground(contract: Contract, *references: str) -> Ground:
    """A table whose every index is declared."""
    names = frozenset(path.name for path in contract.paths) | {path.name for path in contract.searches}
    return Ground(contract, contract, names, references, names)


def advised(contract: Contract, *asked: Question, references: Sequence[str] = (), share: float = 1.0) -> Advice:
    """What is suggested where rows keep every rule."""
    return advise([ground(contract, *references)], wishes(contract, asked), lambda _table, _path: True, share)


def lines(advice: Advice) -> list[str]:
    """The lines of the suggestions."""
    return [one.line for one in advice.suggestions]


def changed(contract: Contract, suggestions: Sequence[Suggestion]) -> Contract:
    """The contract with what was suggested."""
    gone = {one.instead for one in suggestions}
    paths = tuple(path for path in contract.paths if path.name not in gone)
    new = [one.index for one in suggestions]
    return replace(
        contract,
        paths=(*paths, *(index for index in new if isinstance(index, Path))),
        searches=(*contract.searches, *(index for index in new if isinstance(index, SearchPath))),
    )


def without(contract: Contract, name: str) -> Contract:
    """A contract without one of its paths."""
    return replace(contract, paths=tuple(path for path in contract.paths if path.name != name))


def test_nothing_is_wished_for() -> None:
    assert advised(books) == Advice([], [], [])


def test_one_index_serves_several_questions() -> None:
    """An equality in front, the order both ways, a range: all along one."""
    found = advised(
        books,
        Question({"title": SOME}),
        Question({"title": SOME}, sort=(Sort("published_year"),)),
        Question({"title": SOME}, (Range("published_year", Bound(SOME, inclusive=True)),)),
        Question({"title": SOME, "published_year": SOME}, sort=(Sort("id"),)),
        Question(sort=(Sort("title"), DOWN)),
    )
    assert lines(found) == ['Index("ix_books_title_published_year", title, published_year.desc().nulls_last(), id.desc())']
    assert len(found.suggestions[0].wishes) == 5
    assert found.left == []


def test_the_equality_that_others_ask_alone_stands_first() -> None:
    found = advised(
        loans,
        Question({"renewals": SOME, "due_on": SOME}, sort=(Sort("id"),)),
        Question({"renewals": SOME}, sort=(Sort("due_on"),)),
    )
    assert lines(found) == ['Index("ix_loans_renewals_due_on", renewals, due_on, id)']


def test_what_was_refused_more_comes_first_and_enough_is_enough() -> None:
    asked = [Question({"title": SOME}), Question(sort=(Sort("ratings_count"),)), Question({"language": SOME})]
    counted = wishes(books, asked, [1, 90, 9])
    found = advise([ground(books)], counted, lambda _table, _path: True, 0.95)
    assert [one.times for one in found.suggestions] == [90, 9]
    assert [str(wish) for wish in found.left] == ["title="]
    assert len(advise([ground(books)], counted, lambda _table, _path: True, 0.5).suggestions) == 1


def test_tables_are_weighed_against_each_other() -> None:
    both = [*wishes(books, [Question({"title": SOME})], [3]), *wishes(loans, [Question({"renewals": SOME})], [97])]
    found = advise([ground(books), ground(loans)], both, lambda _table, _path: True, 0.9)
    assert [one.ground.table for one in found.suggestions] == ["loans"]


def test_null_makes_a_partial_index_where_nothing_else_is_asked() -> None:
    found = advised(loans, Question({"returned_at": None, "renewals": SOME}))
    (line,) = lines(found)
    assert line.startswith('Index("ix_loans_renewals_borrowed_at_returned_at_null", renewals, borrowed_at.desc(), id.desc(), ')
    assert line.endswith("postgresql_where=returned_at.is_(None))")


def test_null_and_any_value_make_a_whole_one() -> None:
    found = advised(loans, Question({"returned_at": None}, sort=(Sort("id"),)), Question({"returned_at": SOME}, sort=(Sort("id"),)))
    assert lines(found) == ['Index("ix_loans_returned_at", returned_at, id)']


def test_a_literal_that_the_contract_names_makes_a_partial_index() -> None:
    found = advised(holds, Question({"status": "waiting"}, sort=(Sort("member_id"),)))
    assert lines(found) == [
        'Index("ix_holds_member_id_status_waiting", member_id, id, postgresql_where=status == "waiting")',
    ]


def test_a_rule_is_suggested_where_it_serves_more_and_rows_keep_it() -> None:
    asked = [Question({"barcode": SOME}), Question(among={"barcode": (SOME,)})]
    found = advise([ground(books)], wishes(books, asked), lambda _table, _path: True)
    assert lines(found) == ['Index("uq_books_barcode", barcode, unique=True)']
    found = advise([ground(books)], wishes(books, asked), lambda _table, _path: False)
    assert lines(found) == ['Index("ix_books_barcode_published_year", barcode, published_year.desc().nulls_last(), id.desc())']
    assert [str(wish) for wish in found.ruled_out] == ["barcode__in="]


def test_a_rule_is_not_suggested_where_a_plain_index_does_as_well() -> None:
    assert "unique" not in lines(advised(books, Question({"barcode": SOME})))[0]


def test_searches() -> None:
    found = advised(
        books,
        Question(searches=(Sought("subtitle__folded", "icontains", ""),)),
        Question(searches=(Sought("attributes", "has", ""),)),
    )
    one, other = sorted(lines(found))
    assert one == (
        'Index("ix_books_search_attributes", attributes, postgresql_using="gin", postgresql_ops={"attributes": "jsonb_path_ops"})'
    )
    assert other.startswith('Index("ix_books_search_subtitle", folded(subtitle).label("folded"), postgresql_using="gin", ')


def test_a_foreign_key_gets_the_index_that_is_wished_for_anyway() -> None:
    found = advised(holds, Question({"copy_id": SOME, "branch": SOME}), references=("copy_id",))
    assert lines(found) == ['Index("ix_holds_copy_id_branch_placed_at", copy_id, branch, placed_at, id)']
    assert found.suggestions[0].references == ("copy_id",)


def test_a_foreign_key_that_nobody_asks_by_gets_one_of_its_own() -> None:
    found = advised(holds, references=("copy_id",))
    assert lines(found) == ['Index("ix_holds_copy_id", copy_id, id)']
    assert found.suggestions[0].times == 0


def test_a_partial_index_leads_no_foreign_key() -> None:
    found = advised(loans, Question({"shelf_id": SOME, "returned_at": None}, sort=(Sort("id"),)), references=("shelf_id",))
    (one,) = found.suggestions
    assert one.references == ("shelf_id",)
    assert lines(found) == ['Index("ix_loans_shelf_id_returned_at", shelf_id, returned_at, id)']


def test_an_index_that_is_no_total_order_is_made_longer() -> None:
    idle = replace(books, paths=(*books.paths, Path("ix_books_idle", (Key("title"),), include=frozenset({"language"}))))
    found = advised(idle, Question({"title": SOME}, sort=(Sort("language"),)))
    (one,) = found.suggestions
    assert (one.instead, one.line) == (
        "ix_books_idle",
        'Index("ix_books_idle", title, language.asc().nulls_first(), id)',
    )


def test_an_index_that_serves_something_is_left_alone() -> None:
    """Longer keys would take `author_id=` in its own order away."""
    found = advised(books, Question({"author_id": SOME, "language": SOME}))
    assert [one.instead for one in found.suggestions] == [None]


def test_an_index_is_not_made_longer_where_a_constraint_has_it() -> None:
    contract = replace(books, paths=(*books.paths, Path("uq_things", (Key("title"),))))
    held = replace(ground(contract), declared=frozenset())
    found = advise([held], wishes(contract, [Question({"title": SOME}, sort=(Sort("id"),))]), lambda _table, _path: True)
    assert [one.instead for one in found.suggestions] == [None]


def test_an_index_is_not_made_longer_where_the_foreign_key_would_stand_second() -> None:
    idle = replace(holds, paths=(*holds.paths, Path("ix_holds_idle", (Key("branch"),))))
    found = advised(idle, Question({"copy_id": SOME, "branch": SOME}), references=("copy_id",))
    (one,) = found.suggestions
    assert (one.instead, one.references) == (None, ("copy_id",))
    assert one.index.name == "ix_holds_copy_id_branch_placed_at"


def test_a_name_that_is_taken_gets_a_number() -> None:
    busy = replace(ground(books), taken=frozenset({"ix_books_title", "ix_books_title_2"}))
    found = advise([busy], wishes(books, [Question({"title": SOME}, sort=(Sort("id"),))]), lambda _table, _path: True)
    assert [one.index.name for one in found.suggestions] == ["ix_books_title_3"]


def test_the_index_of_each_listing_in_the_library_of_tests_is_found_again() -> None:
    for contract in (books, loans, holds):
        for path in contract.paths:
            if path.name.startswith("pk_"):
                continue
            left = without(contract, path.name)
            asked = [question for question in lost(contract, path) if hopeless(left, question) is None]
            found = advised(left, *asked)
            assert len(found.suggestions) <= 1, f"{path.name}: {lines(found)}"
            assert found.left == []


def test_one_that_later_ones_make_needless_is_left_out() -> None:
    """Taken first, as it served the most; what came after serves all of that between them."""
    one, two, three, four = wishes(books, [Question({name: SOME}) for name in ("title", "language", "ratings_count", "isbn13")])
    first, second, third = (
        advisor._Option(ground(books), path, frozenset(served), frozenset())  # noqa: SLF001
        for path, served in zip(books.paths, ([one, two], [one, three], [two, four]), strict=False)
    )
    assert [option for option, _ in advisor._needed([first, second, third])] == [second, third]  # noqa: SLF001
    assert [option for option, _ in advisor._needed([first, second])] == [first, second]  # noqa: SLF001


trial = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@trial
@given(st.data())
def test_what_is_suggested_serves_the_wishes_and_takes_nothing_away(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    asked = [data.draw(questions(contract)) for _ in range(4)]
    refused = [question for question in asked if choose(contract, question) is None and hopeless(contract, question) is None]
    assume(refused)
    found = advised(contract, *refused)
    now = changed(contract, found.suggestions)
    assert found.left == []
    for wish in wishes(contract, refused):
        assert (choose(now, wish.question) is not None) is (str(wish) not in map(str, found.ruled_out))
    for path in contract.paths:
        for question in probes(contract, path):
            assert choose(now, question), f"{question} isn't served any more: {lines(found)}"


@trial
@given(st.data())
def test_nothing_is_suggested_twice_or_for_nothing(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    refused = [question for question in (data.draw(questions(contract)) for _ in range(4)) if choose(contract, question) is None]
    found = advised(contract, *(question for question in refused if hopeless(contract, question) is None))
    standing = {(path.keys, path.predicate, path.unique) for path in contract.paths}
    for one in found.suggestions:
        assert one.wishes
        rest = [other for other in found.suggestions if other is not one]
        assert any(choose(changed(contract, rest), wish.question) is None for wish in one.wishes), f"{one.line} isn't needed"
        assert not isinstance(one.index, Path) or (one.index.keys, one.index.predicate, one.index.unique) not in standing


@trial
@given(st.data())
def test_one_index_that_was_taken_away_comes_back_as_one(data: st.DataObject) -> None:
    """Unless it was limited to a literal that nothing else names, or a rule over NULLs."""
    contract = data.draw(contracts())
    path = data.draw(st.sampled_from(contract.paths[1:]))
    left = without(contract, path.name)
    asked = [question for question in lost(contract, path) if hopeless(left, question) is None]
    named = {term for other in left.paths for term in other.predicate}
    assume(all(term.value is None or term in named for term in path.predicate) and not path.nulls_equal)
    found = advised(left, *asked)
    assert len(found.suggestions) <= 1, f"{path}: {lines(found)}"
    assert found.left == []
    assert all(choose(changed(left, found.suggestions), wish.question) for wish in wishes(left, asked))
