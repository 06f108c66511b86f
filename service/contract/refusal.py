"""A refusal: why a question isn't served, what is, what comes nearest, and the line that would serve it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from service.contract.choose import choose, completed
from service.contract.line import index_line
from service.contract.path import Contract
from service.contract.question import FOLDED, Question, Sort, joined, range_spelled, spelled
from service.contract.served import Served, literal, served, shortened


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a client, and whoever runs the service, needs to go on.

    Attributes:
        asked: the question, completed.
        served: the combinations that would be answered.
        nearest: what to change about the question; None where nothing is served.
        index: the line of a model that would serve it; None where no index can.
    """

    asked: str
    served: tuple[str, ...]
    nearest: str | None
    index: str | None


def refuse(contract: Contract, question: Question, always: Collection[str] = ()) -> Refusal:
    """The refusal of a question that `choose` found no path for.

    Args:
        contract: what is served.
        question: what isn't.
        always: names that every question of this caller has an equality with: only offers with those are any use.
    """
    offers = tuple(offer for offer in served(contract) if set(offer.equals).issuperset(always))
    return Refusal(
        asked=_asked(contract, question),
        served=tuple(map(str, offers)),
        nearest=_nearest(contract, question, offers),
        index=index_line(contract, question) or _line_in_range_order(contract, question),
    )


def _nearest(contract: Contract, question: Question, offers: Sequence[Served]) -> str | None:
    """What to change about the question itself, or about the same one asked whatever the case."""
    if not question.searches:
        offers = [offer for offer in offers if offer.kind != "search"] or offers
    near = [(_distance(contract, question, offer), _advice(contract, question, offer)) for offer in offers]
    folded = _folded(contract, question)
    if folded != question:
        changed = f"ask whatever the case: {folded}"
        for offer in offers:
            cost, filters, unordered = _distance(contract, folded, offer)
            advice = _advice(contract, folded, offer)
            near.append(((cost + 0.5, filters, unordered), changed if advice == str(offer) else f"{changed}, {advice}"))
    return min(near)[1] if near else None


def _folded(contract: Contract, question: Question) -> Question:
    """The question with each text folded that an index has folded."""
    known = {name for path in contract.paths for name in path.names if name.endswith(FOLDED)}

    def fold(name: str) -> str:
        return name + FOLDED if name + FOLDED in known else name

    return Question(
        {fold(name): value for name, value in question.equals.items()},
        tuple(replace(found, name=fold(found.name)) if found.prefix is not None else found for found in question.ranges),
        question.among,
        question.sort and tuple(replace(sort, name=fold(sort.name)) for sort in question.sort),
        question.searches,
    )


def _line_in_range_order(contract: Contract, question: Question) -> str | None:
    """The line for a range that nobody gave an order to: one index can only give its rows in the order of the range."""
    if question.sort is not None or len(question.ranges) != 1:
        return None
    ordered = replace(question, sort=(Sort(question.ranges[0].name),))
    return None if choose(contract, ordered) else index_line(contract, ordered)


def _asked(contract: Contract, question: Question) -> str:
    filters = replace(question, sort=None)
    order = completed(contract, question)
    parts = [str(filters)] if filters != Question() else []
    parts += [f"sort={joined(order)}"] if order and (question.sort or not question.among) else []
    return " & ".join(parts)


def _distance(contract: Contract, question: Question, offer: Served) -> tuple[float, int, bool]:
    """How far an offer is from a question: leaving a filter out changes more than adding one, or naming an order."""
    missing, extra = _differences(question, offer)
    outside, unranged = _ranges(question, offer)
    cost = len(missing) + 1.5 * (len(extra) + len(outside))
    cost += 0.9 * unranged
    cost += 0.0 if _sorted(contract, question, offer) else 0.4 if question.sort is None else 1.0
    return cost, len(offer.equals), not offer.default


def _differences(question: Question, offer: Served) -> tuple[list[str], list[str]]:
    """Filters that an offer needs besides, and those it has no room for, as parameters."""
    given = {asked: {asked} for asked in (*(f"{name}__in=" for name in question.among), *map(str, question.searches))}
    for name, value in question.equals.items():
        asked = spelled(name)
        if value is None:
            given[asked + "null"] = {asked + "null"} if name in offer.present else {asked, asked + "null"}
        else:
            given[asked] = {asked, asked + literal(value)}
    missing = [needed for needed in offer.filters if not any(needed in fulfilled for fulfilled in given.values())]
    extra = [asked for asked, fulfilled in given.items() if fulfilled.isdisjoint(offer.filters)]
    return missing, extra


def _ranges(question: Question, offer: Served) -> tuple[list[str], bool]:
    """Range parameters that an offer has no room for; and whether it needs one that isn't there."""
    asked = [part for found in question.ranges for part in range_spelled(found)]
    outside = [part for part in asked if part not in offer.ranges]
    return outside, offer.ranged and len(outside) == len(asked)


def _sorted(contract: Contract, question: Question, offer: Served) -> bool:
    """Whether the order asked for is one of the offer's."""
    if offer.kind == "one":
        return True
    if question.sort is None:
        return offer.default or offer.kind in {"many", "search"}
    order = completed(contract, replace(question, equals=dict.fromkeys(offer.equals)))
    return joined(shortened(contract, order)) in offer.sorts


def _advice(contract: Contract, question: Question, offer: Served) -> str:
    missing, extra = _differences(question, offer)
    outside, unranged = _ranges(question, offer)
    parts = [f"leave out {' and '.join((*extra, *outside))}"] if extra or outside else []
    parts += [f"add {' and '.join(missing)}"] if missing else []
    parts += [f"add a range: {' or '.join(offer.ranges)}"] if unranged else []
    if not _sorted(contract, question, offer):
        parts.append(f"ask for sort={' or '.join(offer.sorts)}" if offer.sorts else "leave out sort=")
    return ", ".join(parts) or str(offer)
