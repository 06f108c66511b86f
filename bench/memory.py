"""The memory of a process that serves, under load: how much it is, and whether it grows.

    python -m bench.memory --minutes 10

The ladder's table and workloads, 32 connections; rows, lists and inserts take turns of ten seconds. The process that has the most
is looked at after each turn. It is held against 150 MB, and the median of the last third of the turns against that of the second.
"""

import argparse
import asyncio
import statistics
import sys
from collections.abc import Iterator, Sequence
from itertools import cycle
from time import monotonic

from bench.ladder import data, processes, wrk
from bench.ladder.__main__ import servers
from bench.ladder.contestants import BY_NAME, W1, W2, W3
from bench.ladder.measuring import Ladder, Options, url_of
from bench.servers import DIRECTORY
from service.errors import SetupError

MOST_MB, GROWTH_MOST_MB = 150.0, 3.0
TURN_SECONDS, CONNECTIONS = 10, 32
THIRDS = 3


def measured(ladder: Ladder, minutes: float, processes_: int) -> Iterator[tuple[float, str, int, float]]:
    """After each turn: minutes so far, the workload, answers in the turn, megabytes of the largest process."""
    one = BY_NAME["shelfmark"]
    with ladder.serving(one, processes_) as (pid, port):
        began = monotonic()
        for workload in cycle((W1, W2, W3)):
            asked = one.asked(workload, ladder.headers(one), ladder.options.rows)
            answered = wrk.ask(port, asked, CONNECTIONS, TURN_SECONDS)
            if answered.broken or answered.refused:
                raise SetupError(f"{answered.refused} answers were refusals, {answered.broken} never came.")
            if workload == W3:
                asyncio.run(data.emptied(ladder.url, ladder.options.rows))
            yield (monotonic() - began) / 60, workload, answered.requests, processes.resident(pid)
            if monotonic() - began >= minutes * 60:
                return


def verdict(megabytes: Sequence[float]) -> tuple[float, float]:
    """The most of all turns; and by how much the median of the last third is above that of the second."""
    third = max(1, len(megabytes) // THIRDS)
    second, last = megabytes[-2 * third : -third] or megabytes, megabytes[-third:]
    return max(megabytes), statistics.median(last) - statistics.median(second)


def main() -> None:
    """Measure, and print a line for each turn."""
    parser = argparse.ArgumentParser(description="The memory of a process that serves, under load.")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--processes", type=int, default=1, help="of the service (default 1)")
    given = parser.parse_args()
    wrk.program()
    found = []
    with servers() as (server, redis):
        (DIRECTORY / "logs").mkdir(parents=True, exist_ok=True)
        ladder = Ladder(url_of(server), redis, Options(), DIRECTORY / "logs", print)
        ladder.prepare(server)
        for minute, workload, answers, megabytes in measured(ladder, given.minutes, given.processes):
            found.append(megabytes)
            print(f"{minute:5.1f} min  {workload}  {answers:9,} answers  {megabytes:6.1f} MB", flush=True)  # noqa: T201
    most, growth = verdict(found)
    held = most < MOST_MB and growth < GROWTH_MOST_MB
    told = f"at most {most:.1f} MB (of {MOST_MB:.0f}), grown by {growth:+.1f} MB (of {GROWTH_MOST_MB:.0f})"
    print(f"{told}: {'held' if held else 'NOT held'}")  # noqa: T201
    sys.exit(not held)


if __name__ == "__main__":
    main()
