"""A search stands alone, and looks for something that its index keeps."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.choose import Choice, choose, completed
from service.contract.path import Path
from service.contract.question import Bound, Question, Range, Sort, Sought
from service.contract.refusal import refuse
from service.contract.search import SearchPath, described, pattern
from service.contract.served import served
from tests.contract.library import books as listed

TITLE = SearchPath("ix_books_search_title", "icontains", "title__folded")
ATTRIBUTES = SearchPath("ix_books_search_attributes", "has", "attributes")
books = replace(listed, searches=(TITLE, ATTRIBUTES))
GARDEN = Sought("title__folded", "icontains", "garden")
CLOTH = Sought("attributes", "has", '{"binding": "cloth"}')


@pytest.mark.parametrize(("sought", "path"), [(GARDEN, TITLE), (CLOTH, ATTRIBUTES)])
def test_a_search_rides_its_index_in_the_order_of_the_primary_key(sought: Sought, path: SearchPath) -> None:
    question = Question(searches=(sought,))
    assert choose(books, question) == Choice(Path(path.name, ()), "search", (), 0, (Sort("id"),))
    assert completed(books, question) == (Sort("id"),)


def test_of_two_indexes_the_first_by_name_is_taken() -> None:
    other = replace(TITLE, name="ix_books_a")
    choice = choose(replace(books, searches=(TITLE, other)), Question(searches=(GARDEN,)))
    assert choice
    assert choice.path.name == "ix_books_a"


BESIDES = {
    "a filter": Question({"language": "eng"}, searches=(GARDEN,)),
    "a range": Question(ranges=(Range("id", lower=Bound(7, inclusive=True)),), searches=(GARDEN,)),
    "values": Question(among={"id": (7,)}, searches=(GARDEN,)),
    "an order": Question(sort=(Sort("title__folded"),), searches=(GARDEN,)),
    "the order that it has": Question(sort=(Sort("id"),), searches=(GARDEN,)),
    "another search": Question(searches=(GARDEN, CLOTH)),
}


@pytest.mark.parametrize("case", BESIDES)
def test_a_search_with_something_else_is_refused(case: str) -> None:
    assert choose(books, BESIDES[case]) is None
    refusal = refuse(books, BESIDES[case])
    assert refusal.index is None
    assert refusal.nearest
    assert refusal.nearest.startswith("leave out ")


def test_a_refused_search_is_told_whole() -> None:
    refusal = refuse(books, Question({"isbn13": "x"}, sort=(Sort("id"),), searches=(GARDEN,)))
    assert refusal.asked == "isbn13= & title__icontains= & sort=id"
    assert "title__icontains=" in refusal.served
    assert "attributes__has=" in refusal.served


@pytest.mark.parametrize(
    ("sought", "line"),
    [
        (
            Sought("isbn13__folded", "icontains", "abc"),
            """Index("ix_books_search_isbn13", folded(isbn13).label("folded"), postgresql_using="gin", \
postgresql_ops={"folded": "gin_trgm_ops"})""",
        ),
        (
            Sought("extras", "has", "{}"),
            'Index("ix_books_search_extras", extras, postgresql_using="gin", postgresql_ops={"extras": "jsonb_path_ops"})',
        ),
    ],
)
def test_a_search_without_an_index_is_refused_with_its_line(sought: Sought, line: str) -> None:
    assert choose(books, Question(searches=(sought,))) is None
    assert refuse(books, Question(searches=(sought,))).index == line


def test_an_index_serves_no_other_operator() -> None:
    assert choose(books, Question(searches=(Sought("title__folded", "has", "{}"),))) is None


def test_searches_are_told_last_and_are_no_advice_for_other_questions() -> None:
    told = [(one.kind, str(one), one.path) for one in served(books)][-2:]
    assert told == [
        ("search", "attributes__has=", "ix_books_search_attributes"),
        ("search", "title__icontains=", "ix_books_search_title"),
    ]
    assert served(books)[:-2] == served(listed)
    for question in (Question({"ratings_count": 7}), Question(sort=(Sort("source_key"),)), Question({"attributes": 1})):
        assert refuse(books, question).nearest == refuse(listed, question).nearest


def test_where_there_is_nothing_but_searches_they_are_the_advice() -> None:
    bare = replace(books, paths=(), searches=(TITLE,))
    assert refuse(bare, Question({"title": "x"})).nearest == "leave out title=, add title__icontains="


@pytest.mark.parametrize("text", ["abc", "a bc def", "%%123", "дом", "ÉTÉ", "the the", "x" * 200, "日本語", "a1b"])
def test_a_pattern_with_a_trigram_is_searched(text: str) -> None:
    assert pattern(text) == text


@pytest.mark.parametrize("text", ["", "ab", "a b c", "ab%cd_ef", "...", "½½½", "²²²", "   ", "夜", "a\u0301b\u0301", "x" * 201])
def test_a_pattern_without_one_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a search"):
        pattern(text)


@given(st.text(alphabet="abé1 %_\\-.", max_size=12))
def test_a_trigram_is_three_letters_or_digits_side_by_side(text: str) -> None:
    windows = [text[at : at + 3] for at in range(len(text) - 2)]
    if any(window.isalnum() for window in windows):
        assert pattern(text) == text
    else:
        with pytest.raises(ValueError, match="in a row"):
            pattern(text)


@pytest.mark.parametrize(
    "text", ['{"a": 1}', '{"a": null}', '{"a": {}, "b": [[], false]}', ' {"":""} ', '{"a": 12345678901234567890123.10}']
)
def test_an_object_with_a_value_is_searched_as_it_was_written(text: str) -> None:
    assert described(text) == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected a JSON object"),
        ("null", "expected a JSON object"),
        ("[{}]", "expected a JSON object"),
        ("{'a': 1}", "expected a JSON object"),
        ("[" * 1999, "expected a JSON object"),
        ("{}", "nothing to look for"),
        ('{"a": {}}', "nothing to look for"),
        ('{"a": [[], {"b": []}]}', "nothing to look for"),
        ('{"a":' * 20 + "1" + "}" * 20, "20 levels"),
        ('{"a": "' + "b" * 2000 + '"}', "2000 characters"),
    ],
)
def test_what_holds_nothing_to_look_for_is_refused(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        described(text)
