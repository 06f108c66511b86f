"""Small contracts, questions and tables for hypothesis: NULLs, mixed directions, misplaced NULLs, predicates, composite keys.

Few draws, each from a prepared list: hypothesis then tries many cases in little time and still shrinks them.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from hypothesis import strategies as st

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import Bound, Question, Range, Sort
from tests.contract.oracle import Row, enforced

COLUMNS = ("a", "b", "c")
VALUES = (0, 1, 2)
NAMES = [names for length in range(4) for names in itertools.permutations(COLUMNS, length)]
ENDS = [(Bound(value, inclusive), upper) for value in VALUES for inclusive in (True, False) for upper in (False, True)]
Draw = Callable[[st.SearchStrategy[Any]], Any]

bits = st.integers(0, 255)


@cache
def _one_of(*options: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(options)


@st.composite
def contracts(draw: Draw) -> Contract:
    """A primary key of one or two columns, and one to three more indexes."""
    primary = draw(_one_of(("id",), ("id", "no")))
    nullable = frozenset(draw(_one_of(*NAMES)))
    own = Path("pk", tuple(Key(name) for name in primary), unique=True)
    others = [draw(_paths(f"ix_{at}", primary, nullable)) for at in range(draw(_one_of(1, 2, 3)))]
    flags = draw(bits)
    order = tuple(Sort(name, bool(flags >> at & 1)) for at, name in enumerate(draw(_one_of(*NAMES[:10]))))
    return Contract("things", primary, (own, *others), order, nullable)


@st.composite
def _paths(draw: Draw, name: str, primary: tuple[str, ...], nullable: frozenset[str]) -> Path:
    names, flags, misplaced = draw(_one_of(*NAMES)), draw(bits), draw(bits)
    keys = [
        Key(key, down := bool(flags >> at & 1), (misplaced >> 2 * at & 3 == 3) is down, key in nullable)
        for at, key in enumerate(names)
    ]
    ends = draw(_one_of(primary, primary, primary, (), (), ("id",))) if keys else primary
    along = keys[-1].descending if keys else False
    keys += [Key(key, along is not (misplaced >> 6 == 3), bool(flags & 8)) for key in ends]
    predicate = (draw(_one_of(*_terms(nullable))),) if flags >> 6 == 3 else ()
    return Path(name, tuple(keys), unique=bool(flags & 16), predicate=predicate, nulls_equal=bool(flags & 32))


def _terms(nullable: frozenset[str]) -> list[Term]:
    presences = [Term(name, None, negated) for name in sorted(nullable) for negated in (True, False)]
    return [Term("a", 1), Term("c", 0), Term("b", 1), *presences]


@st.composite
def questions(draw: Draw, contract: Contract) -> Question:
    """A question near to what one of the paths serves: about half of them are served."""
    path = draw(_one_of(*contract.paths))
    lead, kind = draw(st.integers(0, len(path.keys))), draw(bits)
    equals = {key.name: draw(_cells(key.name in contract.nullable)) for key in path.keys[:lead]}
    equals |= {term.name: term.value for term in path.predicate if not term.negated}
    rest = path.keys[lead:]
    if len(path.keys) == 1 and kind & 1:
        return Question(among={path.keys[0].name: draw(_one_of((0, 1), (2,), (1, 2, 3), ()))})
    ranges = (draw(_ranges(rest[0].name)),) if rest and kind & 2 else ()
    asked = Question(equals, ranges, sort=draw(_orders(path, rest)))
    return draw(_spoilt(asked, (*COLUMNS, *contract.primary))) if kind & 12 == 12 else asked


def _cells(nullable: bool) -> st.SearchStrategy[Any]:
    return _one_of(*VALUES, None) if nullable else _one_of(*VALUES)


@st.composite
def _ranges(draw: Draw, name: str) -> Range:
    bound, upper = draw(_one_of(*ENDS))
    if upper:
        return Range(name, upper=bound)
    above = draw(_one_of(None, *(end for end, _ in ENDS if end.value == VALUES[-1])))
    return Range(name, bound, above)


@st.composite
def _orders(draw: Draw, path: Path, rest: tuple[Key, ...]) -> tuple[Sort, ...] | None:
    how = draw(bits)
    order = tuple(Sort(key.name, key.descending is not bool(how & 1)) for key in rest)
    fixed = tuple(Sort(key.name) for key in path.keys if key not in rest)
    short = order[: how >> 5] or order
    return (order, short, short, None, fixed[:1] + order, None, order, short)[how >> 1 & 7]


@st.composite
def _spoilt(draw: Draw, question: Question, names: tuple[str, ...]) -> Question:
    """The question with something in it that its path may have no place for."""
    name, flags = draw(_one_of(*names)), draw(bits)
    if flags & 1:
        return replace(question, equals={**question.equals, name: draw(_one_of(*VALUES))})
    order = [key for at, key in enumerate(draw(st.permutations(names))) if flags >> at & 1]
    return replace(question, sort=tuple(Sort(key, bool(flags & 32)) for key in order) + (question.sort or ()))


def tables(contract: Contract) -> st.SearchStrategy[list[Row]]:
    """Rows that the contract's unique indexes would have let in, in any order."""
    rows = st.lists(_one_of(*range(len(_every_row(contract.primary, contract.nullable)))), max_size=9)
    return rows.map(lambda found: enforced(contract.paths, [_every_row(contract.primary, contract.nullable)[at] for at in found]))


@cache
def _every_row(primary: tuple[str, ...], nullable: frozenset[str]) -> list[Row]:
    columns = [(*VALUES, None) if name in nullable else VALUES for name in COLUMNS]
    keys = [range(8)] if len(primary) == 1 else [range(3), range(3)]
    return [dict(zip((*COLUMNS, *primary), cells, strict=True)) for cells in itertools.product(*columns, *keys)]
