"""What was measured, and what follows: medians over the rounds, their spread, and ratios between contestants of the same round."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Self

from rich import box
from rich.console import Console, Group
from rich.table import Table

from bench.ladder.contestants import W4
from bench.ladder.wrk import Answered

MARK, UNCACHED = "blog", "shelfmark"
"""Whom all are compared with; and in W4, where that is the same service without its cache."""
MICRO = 1e6
Place = tuple[str, int, int]
"""A workload, its connections and the server's processes."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is measured, and when.

    Attributes:
        contestant: by name.
        workload: W1, W2, W3, or a page.
        connections: of the load generator.
        processes: of the server.
        round: from 0.
    """

    contestant: str
    workload: str
    connections: int
    processes: int
    round: int


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds of processor time while it was measured."""

    server: float
    database: float
    load: float


@dataclass(frozen=True, slots=True)
class Measured(Where):
    """One measurement.

    Attributes:
        rate: answers each second, refusals left out.
        server_us: processor time of the server's processes for each of these answers, in microseconds.
        database_us: likewise of PostgreSQL's; 0 where it runs elsewhere.
        p50: milliseconds.
        p99: likewise.
        refused: answers of 400 and above.
        broken: requests that weren't answered.
        processors: processors in use by server, database and load generator together.
        megabytes: memory of the server's largest process.
    """

    rate: float
    server_us: float
    database_us: float
    p50: float
    p99: float
    refused: int
    broken: int
    processors: float
    megabytes: float

    @classmethod
    def by(cls, where: Where, answered: Answered, times: Times, megabytes: float) -> Self:
        """What the load generator counted, and the processor time that it took."""
        answers = answered.requests - answered.refused
        return cls(
            **asdict(where),
            rate=answers / answered.seconds,
            server_us=times.server / max(answers, 1) * MICRO,
            database_us=times.database / max(answers, 1) * MICRO,
            p50=answered.p50,
            p99=answered.p99,
            refused=answered.refused,
            broken=answered.broken,
            processors=(times.server + times.database + times.load) / answered.seconds,
            megabytes=megabytes,
        )

    @property
    def place(self) -> Place:
        """What it can be compared with."""
        return self.workload, self.connections, self.processes


@dataclass(frozen=True, slots=True)
class Summary:
    """All rounds of a contestant at one place: medians.

    Attributes:
        spread: the greatest rate less the least, by the median.
        ratio: its rate by the mark's in the same round; None where that wasn't measured.
        cheaper: the mark's processor time on the server for each answer, by this one's; likewise.
        tail: its p99 by the mark's; likewise.
    """

    contestant: str
    workload: str
    connections: int
    processes: int
    rate: float
    spread: float
    ratio: float | None
    cheaper: float | None
    tail: float | None
    server_us: float
    database_us: float
    p50: float
    p99: float
    refused: int
    broken: int
    processors: float
    megabytes: float


def summaries(found: Sequence[Measured]) -> list[Summary]:
    """One for each contestant and place, in the order in which they were measured."""
    groups: dict[tuple[str, Place], list[Measured]] = {}
    for one in found:
        groups.setdefault((one.contestant, one.place), []).append(one)
    return [_summary(rounds, groups.get((mark(place[0]), place), [])) for (_, place), rounds in groups.items()]


def mark(workload: str) -> str:
    """Whom others are compared with."""
    return UNCACHED if workload in W4 else MARK


def _summary(rounds: Sequence[Measured], marks: Sequence[Measured]) -> Summary:
    first = rounds[0]
    rates = [one.rate for one in rounds]
    rate = statistics.median(rates)

    def median(of: Callable[[Measured], float]) -> float:
        return statistics.median(map(of, rounds))

    return Summary(
        contestant=first.contestant,
        workload=first.workload,
        connections=first.connections,
        processes=first.processes,
        rate=rate,
        spread=(max(rates) - min(rates)) / rate if rate else 0.0,
        ratio=ratio(rounds, marks, lambda one: one.rate),
        cheaper=ratio(marks, rounds, lambda one: one.server_us),
        tail=ratio(rounds, marks, lambda one: one.p99),
        server_us=median(lambda one: one.server_us),
        database_us=median(lambda one: one.database_us),
        p50=median(lambda one: one.p50),
        p99=median(lambda one: one.p99),
        refused=sum(one.refused for one in rounds),
        broken=sum(one.broken for one in rounds),
        processors=median(lambda one: one.processors),
        megabytes=max(one.megabytes for one in rounds),
    )


def ratio(ones: Iterable[Measured], others: Iterable[Measured], of: Callable[[Measured], float]) -> float | None:
    """One by another, each with that of its own round: the median; None where nothing can be compared."""
    by_round = {other.round: of(other) for other in others}
    found = [of(one) / by_round[one.round] for one in ones if by_round.get(one.round)]
    return statistics.median(found) if found else None


def table(found: Sequence[Summary], page: int) -> Group:
    """What is printed: a table for each workload."""
    tables = [_table(workload, [one for one in found if one.workload == workload], page) for workload in _workloads(found)]
    return Group(*tables)


def _workloads(found: Sequence[Summary]) -> list[str]:
    return sorted({one.workload for one in found}, key=lambda name: (name.startswith("page"), name != "page 1", name))


def _table(workload: str, found: Sequence[Summary], page: int) -> Table:
    title = f"page {page:,}" if workload.startswith("page") and workload != "page 1" else workload
    made = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", padding=(0, 1, 0, 0))
    made.add_column("contestant", no_wrap=True)
    compared = ("conns", "procs", "req/s", "±", f"x {mark(workload)}", "cpu x")
    for head in (*compared, "server us", "db us", "p50 ms", "p99 ms", "cpus", "MB", "failed"):
        made.add_column(head, justify="right", no_wrap=True)
    for one in sorted(found, key=lambda one: (one.processes, one.connections, one.rate)):
        made.add_row(one.contestant, *_cells(one))
    return made


def _cells(one: Summary) -> list[str]:
    failed = one.refused + one.broken
    return [
        str(one.connections),
        str(one.processes),
        f"{one.rate:,.0f}",
        f"{one.spread:.0%}",
        "" if one.ratio is None else f"{one.ratio:.2f}",
        "" if one.cheaper is None else f"{one.cheaper:.2f}",
        f"{one.server_us:,.0f}",
        f"{one.database_us:,.0f}",
        f"{one.p50:.2f}",
        f"{one.p99:.2f}",
        f"{one.processors:.2f}",
        f"{one.megabytes:.0f}" if one.megabytes else "",
        f"{failed:,}" if failed else "",
    ]


def show(console: Console, found: Sequence[Summary], page: int) -> None:
    """Print the tables, and what their columns mean."""
    console.print(table(found, page))
    console.print(
        "±: the rounds' spread. x: times the rate of who is named there; cpu x: that one's processor time on the server by this "
        "one's; both within a round, then the median.\nserver us, db us: processor time for each answer. cpus: processors in "
        "use by server, database and load generator."
    )
