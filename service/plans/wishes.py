"""What the ledger's refused questions come to today: those that an index could serve, and for the others why not."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from service.contract.choose import choose
from service.contract.line import index_line
from service.contract.path import Contract
from service.contract.question import Question, Sort
from service.contract.search import alone
from service.contract.shape import Shape, read
from service.db import Surface
from service.plans.ledger import OTHERS, Refused

WISHES_MOST = 300
"""Shapes that are thought about: the most refused."""
TWO_RANGES = "an index is entered at one range only"
TWO_FILTERS = "a search stands alone: no index serves it together with another filter or an order"
ONLY_UNIQUE = "only a unique index on that one column serves __in"
NONE_ALONE = "no single index gives that order to those filters"


@dataclass(frozen=True, eq=False)
class Wish:
    """A question that is refused, and that an index might serve.

    Attributes:
        question: one of the shape.
        times: how often it was refused.
    """

    table: str
    shape: Shape
    question: Question
    times: int

    def __str__(self) -> str:
        return str(self.shape)


@dataclass(frozen=True)
class Heard:
    """The ledger, sorted.

    Attributes:
        wishes: what an index could serve, the most refused first.
        hopeless: a row, and why no index can serve it.
        served: rows of questions that are served by now.
        gone: rows that speak of a table or a column that isn't there any more.
        unseen: what found no room in the ledger, or is beyond the most refused shapes.
    """

    wishes: list[Wish] = field(default_factory=list)
    hopeless: list[tuple[Refused, str]] = field(default_factory=list)
    served: list[Refused] = field(default_factory=list)
    gone: list[Refused] = field(default_factory=list)
    unseen: list[Refused] = field(default_factory=list)


def heard(tables: Iterable[Surface], rows: Sequence[Refused]) -> Heard:
    """Sort the ledger's rows.

    Args:
        tables: what clients may ask of each served table.
        rows: the most refused first.
    """
    by_name = {of.contract.table: of for of in tables}
    found = Heard()
    for row in rows:
        _sort(by_name, row, found)
    return found


def _sort(tables: Mapping[str, Surface], row: Refused, found: Heard) -> None:
    of, shape = tables.get(row.table), _shape(row)
    if row.shape == OTHERS or len(found.wishes) >= WISHES_MOST:
        found.unseen.append(row)
    elif of is None or shape is None or not shape.names <= of.expressions.keys():
        found.gone.append(row)
    else:
        question = shape.question(of.contract)
        why = hopeless(of.contract, question)
        if choose(of.contract, question):
            found.served.append(row)
        elif why:
            found.hopeless.append((row, why))
        else:
            found.wishes.append(Wish(row.table, shape, question, row.times))


def _shape(row: Refused) -> Shape | None:
    try:
        return read(row.shape)
    except ValueError:
        return None


def hopeless(contract: Contract, question: Question) -> str | None:
    """Why no index can serve a question, as a sentence; None where one might."""
    if question.searches:
        return None if alone(question) else TWO_FILTERS
    if question.among:
        return ONLY_UNIQUE if len(question.among) > 1 or question.ranges or question.sort else None
    if len(question.ranges) > 1:
        return TWO_RANGES
    return None if index_line(contract, question) else _out_of_order(contract, question)


def _out_of_order(contract: Contract, question: Question) -> str:
    """A range whose rows are wanted in another order."""
    if not question.ranges:
        return NONE_ALONE
    (over,) = question.ranges
    reason = f"an index gives the rows of a range in the range's own order, sort={over.name}"
    ordered = replace(question, sort=(Sort(over.name),))
    if choose(contract, ordered):
        return f"{reason}, and so it is served"
    line = index_line(contract, ordered)
    return f"{reason}; so it could be served: {line}" if line else reason
