"""The smallest set of indexes that would serve most of what is refused. Pure: what the data say about it is asked elsewhere.

Each candidate is put to `choose` with every wish, so that what it is said to serve it serves. Then the one that serves the most is
taken, again and again, until enough is served. A foreign key that no index leads with counts less than any wish: it decides between
equals, and what is left of them at the end gets a line of its own.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from service.contract.line import gin_line, line
from service.contract.path import Contract, Path
from service.contract.search import SearchPath
from service.db import Surface, surface
from service.db.model import table_of
from service.db.surface import references
from service.plans.candidates import Index, candidates, leads, serves
from service.plans.extending import extended
from service.plans.wishes import Wish

SHARE = 0.95
"""The part of the refusals at which more indexes aren't worth it."""
OF_A_FOREIGN_KEY = 0.5
ROUNDING = 1e-6
Kept = Callable[[str, Path], bool]
"""Whether the rows of a table keep the rule of a unique index."""


@dataclass(frozen=True)
class Ground:
    """A served table, as the advisor sees it.

    Attributes:
        contract: what clients may ask.
        whole: every path, those that clients can't ask for too.
        declared: its indexes that aren't a constraint's.
        references: foreign keys that no index leads with.
        taken: names of indexes that there are.
    """

    contract: Contract
    whole: Contract
    declared: frozenset[str]
    references: tuple[str, ...]
    taken: frozenset[str]

    @classmethod
    def under(cls, of: Surface, taken: Collection[str] = ()) -> "Ground":
        """The ground of a served table.

        Args:
            of: what clients may ask.
            taken: names of indexes that the database has besides.
        """
        declared = frozenset(str(index.name) for index in table_of(of.model).indexes)
        unled = tuple(name for name, leading in references(of.model).items() if not leading)
        return cls(of.contract, surface(of.model).contract, declared, unled, declared | set(taken))

    @property
    def table(self) -> str:
        """The table's name."""
        return self.contract.table


@dataclass(frozen=True)
class Suggestion:
    """An index worth having.

    Attributes:
        index: a path, or a search.
        instead: the name of the index whose place it takes; None for a new one.
        wishes: the refused questions that it would serve.
        references: the foreign keys that it would lead.
        stands: whether the database has it already, and only the model doesn't know.
    """

    ground: Ground
    index: Index
    instead: str | None
    wishes: tuple[Wish, ...]
    references: tuple[str, ...]
    stands: bool = False

    @property
    def times(self) -> int:
        """How many refusals it would have spared."""
        return sum(wish.times for wish in self.wishes)

    @property
    def line(self) -> str:
        """The line of the class body."""
        return line(self.index) if isinstance(self.index, Path) else gin_line(self.ground.table, self.index.key)


@dataclass(frozen=True)
class Advice:
    """What the ledger comes to.

    Attributes:
        suggestions: the one that would serve the most first.
        left: wishes that are served by none of them: they would take more indexes than they are worth.
        ruled_out: wishes that only a rule would serve that rows don't keep.
    """

    suggestions: list[Suggestion]
    left: list[Wish]
    ruled_out: list[Wish]


@dataclass(frozen=True, eq=False)
class _Option:
    """A candidate, and what it would serve."""

    ground: Ground
    index: Index
    wishes: frozenset[Wish]
    references: frozenset[tuple[str, str]]

    def gain(self, wishes: Collection[Wish], others: Collection[tuple[str, str]]) -> float:
        """What it would add: the refusals that it would serve of those that are left."""
        return sum(wish.times for wish in self.wishes & set(wishes)) + OF_A_FOREIGN_KEY * len(self.references & set(others))

    @property
    def cost(self) -> tuple[bool, bool, int, int, str]:
        """What decides between equals: no new rule, fewer rows, a shorter line, the name."""
        if isinstance(self.index, SearchPath):
            return True, True, 0, 0, self.index.name
        fixed = [term for term in self.index.predicate if not term.present]
        return self.index.unique, not fixed, len(self.index.predicate), len(self.index.keys), self.index.name


def advise(grounds: Iterable[Ground], wishes: Sequence[Wish], kept: Kept, share: float = SHARE) -> Advice:
    """The smallest set of indexes that serves a share of the wishes, each counted as often as it was refused.

    Args:
        grounds: the served tables.
        wishes: of these tables.
        kept: tells whether rows keep the rule of a unique index. One is only suggested where a plain one would serve less.
        share: from 0 to 1.
    """
    grounds = list(grounds)
    options = [option for ground in grounds for option in _options(ground, wishes, kept)]
    servable = frozenset[Wish]().union(*(option.wishes for option in options))
    left = set(servable)
    unled = {(ground.table, name) for ground in grounds for name in ground.references}
    enough = (1 - share) * _times(servable) + ROUNDING
    chosen: list[_Option] = []
    while options:
        wanted = left if _times(left) > enough else set()
        best = min(options, key=lambda option: (-option.gain(wanted, unled), option.cost))
        if not best.gain(wanted, unled):
            break
        chosen.append(best)
        left -= best.wishes
        unled -= best.references
    suggestions = [_suggestion(option, others) for option, others in _needed(chosen)]
    by_times = sorted(suggestions, key=lambda one: (-one.times, one.ground.table, one.index.name))
    ruled_out = [wish for wish in wishes if wish not in servable]
    return Advice(by_times, [wish for wish in wishes if wish in left], ruled_out)


def _times(wishes: Iterable[Wish]) -> int:
    return sum(wish.times for wish in wishes)


def _options(ground: Ground, wishes: Sequence[Wish], kept: Kept) -> Iterator[_Option]:
    mine = [wish for wish in wishes if wish.table == ground.table]
    for index in candidates(ground.contract, mine, ground.references, ground.taken):
        if isinstance(index, Path) and index.unique and not kept(ground.table, index):
            continue
        served = frozenset(wish for wish in mine if serves(ground.contract, index, wish.question))
        led = frozenset((ground.table, name) for name in ground.references if leads(index, name))
        yield _Option(ground, index, served, led)


def _needed(chosen: Sequence[_Option]) -> Iterator[tuple[_Option, list[_Option]]]:
    """Those without which something wouldn't be served any more, each with the ones before it, which count first."""
    needed = list(chosen)
    for option in chosen:
        others = [other for other in needed if other is not option]
        wishes = frozenset[Wish]().union(*(other.wishes for other in others))
        led = frozenset[tuple[str, str]]().union(*(other.references for other in others))
        if option.wishes <= wishes and option.references <= led:
            needed = others
    return ((option, needed[:at]) for at, option in enumerate(needed))


def _suggestion(option: _Option, before: Sequence[_Option]) -> Suggestion:
    """A new index, or an old one made longer; what others serve already isn't counted again."""
    ground, index = option.ground, option.index
    new = option.wishes.difference(*(other.wishes for other in before))
    questions = [wish.question for wish in new]
    wishes = tuple(sorted(new, key=lambda wish: (-wish.times, str(wish))))
    led = tuple(sorted(name for _, name in option.references))
    longer = extended(ground.whole, ground.declared, index, questions) if isinstance(index, Path) else None
    if longer and all(leads(longer, name) for name in led):
        return Suggestion(ground, longer, longer.name, wishes, led)
    return Suggestion(ground, index, None, wishes, led)
