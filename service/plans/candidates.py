"""Indexes that refused questions could do with: for each question what would serve it, and how it might serve others as well."""

from collections.abc import Container, Iterable, Iterator
from dataclasses import replace
from typing import Any

from service.contract.choose import choose
from service.contract.line import gin_name, index_name, wanted
from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Question, Sort
from service.contract.search import SearchPath, alone
from service.contract.served import SOME
from service.plans.wishes import Wish

Index = Path | SearchPath


def serves(contract: Contract, index: Index, question: Question) -> bool:
    """Whether an index by itself serves a question."""
    paths = (index,) if isinstance(index, Path) else ()
    searches = (index,) if isinstance(index, SearchPath) else ()
    return choose(replace(contract, paths=paths, searches=searches), question) is not None


def leads(index: Index, name: str) -> bool:
    """Whether an index serves a foreign key: all rows, its column first."""
    return isinstance(index, Path) and not index.predicate and index.keys[0].name == name


def candidates(contract: Contract, wishes: Iterable[Wish], references: Iterable[str], taken: Container[str] = ()) -> list[Index]:
    """Every index worth a thought, each once.

    Args:
        contract: of the table.
        wishes: of the same table.
        references: foreign keys that no index leads with.
        taken: names that other indexes have.
    """
    alone_for_keys = [Question({name: SOME}, sort=tuple(map(Sort, contract.primary))) for name in references]
    questions = [*(wish.question for wish in wishes), *alone_for_keys]
    found = dict.fromkeys(index for question in questions for index in _for(contract, question, list(references)))
    return [_named(contract, index, taken) for index in found]


def _for(contract: Contract, question: Question, references: list[str]) -> Iterator[Index]:
    if question.searches:
        if alone(question):
            (sought,) = question.searches
            yield SearchPath("", sought.operator, sought.name)
        return
    whole = wanted(contract, question)
    if whole:
        yield replace(whole, name="")
        yield from (_beginning(whole, name) for name in references if name in question.equals)
    for terms in _predicates(question):
        names = {term.name for term in terms}
        keys = tuple(key for key in whole.keys if key.name not in names) if whole else ()
        if keys and terms:
            yield Path("", keys, predicate=terms)
        yield from _unique(contract, question, terms, whole)


def _beginning(path: Path, name: str) -> Path:
    """The index with one of the keys that its question fixes before the others."""
    return replace(path, name="", keys=tuple(sorted(path.keys, key=lambda key: key.name != name)))


def _predicates(question: Question) -> Iterator[tuple[Term, ...]]:
    """What an index could be limited to: NULLs, and literals that the contract names; nothing, each alone, and all of it."""
    fixed = [Term(name, value) for name, value in sorted(question.equals.items()) if value is None or _writable(value)]
    yield ()
    yield from ((term,) for term in fixed)
    if len(fixed) > 1:
        yield tuple(fixed)


def _writable(value: Any) -> bool:
    """Whether a literal can stand in a line of Python without an import."""
    return isinstance(value, str | int | bool)


def _unique(contract: Contract, question: Question, terms: tuple[Term, ...], whole: Path | None) -> Iterator[Path]:
    """Unique indexes that would make a lookup of it, or give its order. Each is a rule as well, which rows keep or don't."""
    names = {term.name for term in terms}
    looked_up = sorted(question.among or question.equals.keys() - names)
    orders = [tuple(Key(name, nullable=name in contract.nullable) for name in looked_up)]
    orders += [tuple(key for key in whole.keys if key.name not in {*contract.primary, *names})] if whole else []
    for keys in dict.fromkeys(filter(None, orders)):
        present = tuple(Term(key.name, negated=True) for key in keys if key.nullable)
        for predicate in dict.fromkeys([terms, (*terms, *present)]):  # without NULLs its keys tell any two rows apart
            path = Path("", keys, unique=True, predicate=predicate)
            if serves(contract, path, question):
                yield path


def _named(contract: Contract, index: Index, taken: Container[str]) -> Index:
    if isinstance(index, SearchPath):
        return replace(index, name=gin_name(contract.table, index.key))
    return replace(index, name=index_name(contract, index, taken))
