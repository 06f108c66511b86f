"""An index is made longer only where nothing is lost by it."""

from dataclasses import replace

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Question, Sort
from service.contract.served import SOME
from service.plans.extending import extended
from tests.contract.library import books, id_up

TITLE, LANGUAGE = Key("title"), Key("language", nulls_first=True, nullable=True)
NEW = Path("ix_new", (TITLE, LANGUAGE, id_up))
BY_LANGUAGE = Question({"title": SOME}, sort=(Sort("language"),))


def having(*paths: Path) -> Contract:
    """The books with some more indexes."""
    return replace(books, paths=(*books.paths, *paths))


def longer(*paths: Path, declared: bool = True, new: Path = NEW, question: Question = BY_LANGUAGE) -> Path | None:
    """What becomes of them."""
    names = {path.name for path in paths} if declared else set()
    return extended(having(*paths), names, new, [question])


def test_one_that_serves_nothing() -> None:
    assert longer(Path("ix_old", (TITLE,))) == Path("ix_old", NEW.keys)


def test_what_it_carries_stays_unless_it_becomes_a_key() -> None:
    old = Path("ix_old", (TITLE,), include=frozenset({"language", "isbn13"}))
    assert longer(old) == Path("ix_old", NEW.keys, include=frozenset({"isbn13"}))


def test_one_that_serves_a_list_of_its_own() -> None:
    assert longer(Path("ix_old", (TITLE, id_up))) is None


def test_one_whose_lists_another_serves_too() -> None:
    old = Path("ix_old", (TITLE, id_up))
    both = having(old, replace(old, name="ix_twin"))
    assert extended(both, {"ix_old"}, Path("ix_new", (TITLE, id_up, LANGUAGE)), []) is not None


def test_one_that_begins_otherwise() -> None:
    assert longer(Path("ix_old", (LANGUAGE,))) is None


def test_the_keys_that_are_fixed_may_change_places() -> None:
    new = Path("ix_new", (TITLE, LANGUAGE, id_up))
    asked = Question({"title": SOME, "language": SOME}, sort=(Sort("id"),))
    found = longer(Path("ix_old", (LANGUAGE,)), new=new, question=asked)
    assert found == Path("ix_old", (LANGUAGE, TITLE, id_up))


def test_a_rule_or_another_part_of_the_rows() -> None:
    assert longer(Path("uq_old", (TITLE,), unique=True)) is None
    assert longer(Path("ix_old", (TITLE,), predicate=(Term("isbn13"),))) is None
    assert longer(Path("ix_old", (TITLE,)), new=replace(NEW, unique=True)) is None


def test_one_that_may_not_be_changed() -> None:
    assert longer(Path("ix_old", (TITLE,)), declared=False) is None


def test_the_longest_beginning_first() -> None:
    short, long = Path("ix_a", (TITLE,)), Path("ix_b", (TITLE, LANGUAGE))
    found = longer(short, long)
    assert found
    assert found.name == "ix_b"
