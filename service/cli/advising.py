"""What `shelfmark indexes suggest` prints: each line with what it serves and what it costs, and what can't be helped."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape

from service.cli.standing import show_json, sized
from service.contract.path import Path
from service.plans.advisor import Advice, Suggestion
from service.plans.inventory import Inventory
from service.plans.ledger import OTHERS, Refused
from service.plans.trial import Price, Trial
from service.plans.wishes import Heard, Wish

SHOWN = 12
TIMED = 1_000
"""Inserted rows of fewer than that say nothing about time."""
EMPTY = (
    "The ledger is empty: no question was refused, or none for 90 days. A running service writes down what it refuses every five "
    "seconds."
)
UNKNOWN_RULE = "only a unique index serves it, and without a scratch database nobody knows whether rows keep that rule"
BROKEN_RULE = "only a unique index serves it, and rows have the same values"
A_RULE = "it is a rule as well: no two rows may have the same. The rows of the sample keep it; whether all must, you know"


@dataclass(frozen=True)
class Outcome:
    """What one run came to.

    Attributes:
        ledger: all of its rows.
        trials: of each suggestion, in their order.
        untried: why nothing was tried.
    """

    advice: Advice
    heard: Heard
    inventory: Inventory
    ledger: Sequence[Refused]
    trials: Sequence[Trial]
    untried: str = ""

    @property
    def total(self) -> int:
        """All refusals that the ledger knows of."""
        return sum(row.times for row in self.ledger)


def show(outcome: Outcome) -> None:
    """Print it for people."""
    out = Console(highlight=False, soft_wrap=True)
    for line in _lines(outcome):
        out.print(line)


def _lines(outcome: Outcome) -> Iterator[str]:
    yield escape(_summed(outcome))
    for number, (suggestion, trial) in enumerate(zip(outcome.advice.suggestions, outcome.trials, strict=True), 1):
        yield ""
        yield from _suggestion(number, suggestion, trial, outcome.total)
    yield from _group("Served by none of these: it would take another index each", _wished(outcome), "--share 1 shows them")
    yield from _group("No index can serve, as it is asked", [*outcome.heard.hopeless, *_ruled_out(outcome)])
    yield from _group("Served by now", [(row, "") for row in outcome.heard.served])
    yield from _group("No longer there, the table or a column", [(row, "") for row in outcome.heard.gone])
    unseen = sum(row.times for row in outcome.heard.unseen)
    if unseen:
        yield from ("", escape(f"{unseen:,} refusals were counted together, or are beyond the most refused shapes."))


def _summed(outcome: Outcome) -> str:
    shapes = [row for row in outcome.ledger if row.shape != OTHERS]
    if not outcome.ledger:
        return EMPTY
    since = min(row.first_at for row in outcome.ledger)
    times = "1 refusal" if outcome.total == 1 else f"{outcome.total:,} refusals"
    of = "1 shape" if len(shapes) == 1 else f"{len(shapes):,} shapes"
    ledger = f"The ledger holds {times} of {of} since {since:%Y-%m-%d}."
    suggestions = outcome.advice.suggestions
    spared = sum(suggestion.times for suggestion in suggestions)
    if not suggestions:
        return f"{ledger} No index is worth suggesting."
    indexes = "1 index" if len(suggestions) == 1 else f"{len(suggestions)} indexes"
    return f"{ledger} {indexes} would have served {_part(spared, outcome.total)} of them."


def _part(some: int, total: int) -> str:
    return f"{100 * some / max(total, 1):.0f} %"


def _suggestion(number: int, suggestion: Suggestion, trial: Trial, total: int) -> Iterator[str]:
    count = "1 refusal" if suggestion.times == 1 else f"{suggestion.times:,} refusals"
    refusals = f"{count}, {_part(suggestion.times, total)}" if suggestion.times else "no refusal"
    yield f"[bold]{number}. {escape(suggestion.ground.table)}[/]: {refusals}"
    yield f"   [bold]{escape(suggestion.line)}[/]"
    for name, value in _told(suggestion, trial):
        yield f"   {name:<8} {escape(value)}"


def _told(suggestion: Suggestion, trial: Trial) -> Iterator[tuple[str, str]]:
    if suggestion.stands:
        yield "stands", "the database has it, made outside: with this line in the model it is served, and nothing needs building"
    if suggestion.instead:
        yield "instead", f"of the {suggestion.instead} that there is: it serves all that that one did, and is longer"
    if isinstance(suggestion.index, Path) and suggestion.index.unique:
        yield "mind", A_RULE
    wide = max((len(str(wish)) for wish in suggestion.wishes[:SHOWN]), default=0)
    for at, wish in enumerate(suggestion.wishes[:SHOWN]):
        yield "" if at else "serves", f"{wish!s:<{wide}} {wish.times:>7,}"
    if len(suggestion.wishes) > SHOWN:
        yield "", f"and {len(suggestion.wishes) - SHOWN} shapes more"
    if suggestion.references:
        yield "leads", f"the foreign key {', '.join(suggestion.references)}, which no index leads: deletes scan the table"
    yield from _tried(trial)


def _tried(trial: Trial) -> Iterator[tuple[str, str]]:
    if trial.broken:
        yield "unproven", trial.broken
        return
    if trial.proven:
        ones = sum(bool(proof.statements) for proof in trial.proofs)
        yield (
            "proven",
            f"on {trial.sample:,} rows: all that it serves rides it, planned for its values and for any ({ones} in the contract)",
        )
    else:
        yield "unproven", f"on {trial.sample:,} rows: {'; '.join(trial.faults[:3]) or 'there was nothing to ask for'}"
    yield "size", f"about {sized(trial.size)} for all rows; building it took {trial.seconds:.1f} s on the sample"
    if trial.before and trial.after:
        yield "price", _price(trial.before, trial.after)


def _price(before: Price, after: Price) -> str:
    """What an insert costs without the index, and with it."""
    wal = [price.wal / price.rows for price in (before, after)]
    told = f"{wal[1]:,.0f} bytes of WAL for each inserted row, {wal[0]:,.0f} without it"
    if before.rows < TIMED:
        return told
    milliseconds = [1000 * price.seconds for price in (before, after)]
    return f"{told}; {before.rows:,} rows took {milliseconds[1]:,.0f} ms, {milliseconds[0]:,.0f} without it"


def _wished(outcome: Outcome) -> list[tuple[Refused, str]]:
    return [(row, "") for row in _of(outcome, outcome.advice.left)]


def _ruled_out(outcome: Outcome) -> list[tuple[Refused, str]]:
    return [(row, UNKNOWN_RULE if outcome.untried else BROKEN_RULE) for row in _of(outcome, outcome.advice.ruled_out)]


def _of(outcome: Outcome, wishes: Iterable[Wish]) -> list[Refused]:
    """The rows of the ledger that wishes come from."""
    wanted = {(wish.table, wish.shape.written()) for wish in wishes}
    return [row for row in outcome.ledger if (row.table, row.shape) in wanted]


def _group(title: str, rows: Sequence[tuple[Refused, str]], hint: str = "") -> Iterator[str]:
    if not rows:
        return
    yield ""
    yield escape(f"{title}{f' ({hint})' if hint else ''}:")
    tables = max(len(row.table) for row, _ in rows[:SHOWN])
    wide = max(len(row.question) for row, _ in rows[:SHOWN])
    for row, why in rows[:SHOWN]:
        yield escape(f"   {row.table:<{tables}}  {row.question:<{wide}} {row.times:>7,}  {why}".rstrip())
    if len(rows) > SHOWN:
        yield f"   and {len(rows) - SHOWN} more"


def show_as_json(outcome: Outcome) -> None:
    """Print it for programs."""
    pairs = zip(outcome.advice.suggestions, outcome.trials, strict=True)
    show_json(
        {
            "refusals": outcome.total,
            "suggestions": [_suggestion_told(suggestion, trial) for suggestion, trial in pairs],
            "left": _rows(row for row, _ in _wished(outcome)),
            "no_index_can": [told | {"why": why} for told, why in _hopeless(outcome)],
            "served_by_now": _rows(outcome.heard.served),
            "no_longer_there": _rows(outcome.heard.gone),
            "counted_together": sum(row.times for row in outcome.heard.unseen),
        }
    )


def _hopeless(outcome: Outcome) -> Iterator[tuple[dict[str, Any], str]]:
    for row, why in [*outcome.heard.hopeless, *_ruled_out(outcome)]:
        (told,) = _rows([row])
        yield told, why


def _rows(rows: Iterable[Refused]) -> list[dict[str, Any]]:
    return [{"table": row.table, "question": row.question, "times": row.times, "last_at": row.last_at} for row in rows]


def _suggestion_told(suggestion: Suggestion, trial: Trial) -> dict[str, Any]:
    prices = {
        name: {"rows": price.rows, "seconds": price.seconds, "wal_bytes": price.wal}
        for name, price in (("without", trial.before), ("with", trial.after))
        if price
    }
    return {
        "table": suggestion.ground.table,
        "line": suggestion.line,
        "instead_of": suggestion.instead,
        "stands_already": suggestion.stands,
        "unique": isinstance(suggestion.index, Path) and suggestion.index.unique,
        "refusals": suggestion.times,
        "serves": [{"question": str(wish), "times": wish.times} for wish in suggestion.wishes],
        "foreign_keys": list(suggestion.references),
        "proven": trial.proven,
        "unproven_because": [trial.broken] if trial.broken else trial.faults,
        "sample_rows": trial.sample,
        "size_bytes": trial.size or None,
        "insert": prices or None,
    }
