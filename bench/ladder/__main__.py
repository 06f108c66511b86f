"""`python -m bench.ladder`: measure, print the ladder, write it down.

    python -m bench.ladder --quick
    python -m bench.ladder --contestants blog,shelfmark --workloads W1,W2 --connections 32 --rounds 5
    python -m bench.ladder --contestants shelfmark,shelfmark-cached --workloads W4-row,W4-list,W4-304 --processes 1
    python -m bench.ladder --profile shelfmark --workloads W2

BENCH_DATABASE_URL names a PostgreSQL whose user may create databases, BENCH_REDIS_URL a Redis; otherwise both are embedded ones, in
.shelfmark/bench. The filled database stays for the next run.
"""

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

from rich.console import Console

from bench.ladder import profiling, wrk
from bench.ladder.contestants import BY_NAME, CACHED, W1, W2, W3, W4
from bench.ladder.measuring import DEEP, IMPORT, NAMES, Ladder, Options, imported, unknown, url_of
from bench.ladder.processes import Stopped
from bench.ladder.results import show, summaries
from bench.servers import DIRECTORY
from service.errors import SetupError
from service.local.visiting import visiting

RESULTS = Path(__file__).parents[1] / "results" / "latest.json"
WORKLOADS = (W1, W2, W3, *W4, DEEP, IMPORT)
QUICK = Options(
    contestants=("blog", "orm", "fastcrud", "shelfmark", CACHED, "constant", "pgbench", "asyncpg"),
    workloads=(W1, W2, W3, *W4),
    connections=(32,),
    processes=(1,),
    rounds=1,
    seconds=2,
)
out = Console(highlight=False, width=140 if not sys.stdout.isatty() else None)
aside = Console(stderr=True, highlight=False)


@contextmanager
def servers() -> Iterator[tuple[str, str | None]]:
    """The URLs of a PostgreSQL and of a Redis: given ones, or embedded ones for as long as this lasts."""
    if url := os.environ.get("BENCH_DATABASE_URL"):
        yield url, os.environ.get("BENCH_REDIS_URL")
        return
    with visiting(DIRECTORY, durable=False) as own:
        yield own.database_url, own.redis_url


def options(arguments: Sequence[str] | None = None) -> tuple[Options, argparse.Namespace]:
    """What is asked for.

    Raises:
        SystemExit: it can't be understood.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.ladder", description="This service beside what one would take instead.")
    parser.add_argument("--quick", action="store_true", help="two minutes: the main contestants, 32 connections, one short round")
    parser.add_argument("--contestants", help=f"some of {','.join(NAMES)}")
    parser.add_argument("--workloads", help=f"some of {','.join(WORKLOADS)}")
    parser.add_argument("--connections", help="for each contestant; by default 1,4,32,128 for the main ones, and 32 for the others")
    parser.add_argument("--processes", help="of a server: 1, 2 or 1,2")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=int, help="that each measurement takes")
    parser.add_argument("--rows", type=int, help="of the table")
    parser.add_argument(
        "--fastcrud-python", default=os.environ.get("BENCH_FASTCRUD_PYTHON"), help="an interpreter that has FastCRUD"
    )
    parser.add_argument("--json", type=Path, default=RESULTS, help="where results are written")
    parser.add_argument(
        "--profile", metavar="CONTESTANT", help="say where its time goes, by py-spy if that is there, else cProfile"
    )
    given = parser.parse_args(arguments)
    chosen: dict[str, object] = {
        "contestants": _names(parser, given.contestants, NAMES),
        "workloads": _names(parser, given.workloads, WORKLOADS),
        "connections": _numbers(given.connections),
        "processes": _numbers(given.processes),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "rows": given.rows,
        "fastcrud_python": given.fastcrud_python,
        "everywhere": given.connections is not None or None,
    }
    named = {name: value for name, value in chosen.items() if value is not None}
    if given.profile and given.profile not in BY_NAME:
        parser.error(f"--profile: there is no {given.profile}; there are {', '.join(BY_NAME)}")
    return replace(QUICK if given.quick else Options(), **named), given  # type: ignore[arg-type]


def _names(parser: argparse.ArgumentParser, given: str | None, known: Sequence[str]) -> tuple[str, ...] | None:
    names = tuple(given.split(",")) if given else None
    if names and (strange := unknown(names, known)):
        parser.error(f"there is no {', '.join(strange)}; there are {', '.join(known)}")
    return names


def _numbers(given: str | None) -> tuple[int, ...] | None:
    return tuple(map(int, given.split(","))) if given else None


def run(chosen: Options, given: argparse.Namespace) -> None:
    """Measure and print, or profile.

    Raises:
        SetupError: wrk or a server is missing, or a contestant answers other rows.
    """
    wrk.program()
    began = datetime.now(UTC)
    folder = DIRECTORY / "logs"
    with servers() as (server, redis):
        folder.mkdir(parents=True, exist_ok=True)
        ladder = Ladder(url_of(server), redis, chosen, folder, aside.print)
        ladder.prepare(server)
        if given.profile:
            out.print(profiling.profile(ladder, given.profile, chosen.workloads[0]))
            return
        aside.print("Comparing what everybody answers...")
        ladder.agree()
        found = ladder.run()
        copied = asyncio.run(imported(server, min(chosen.rounds, 2))) if IMPORT in chosen.workloads else None
    told = summaries(found)
    show(out, told, chosen.page)
    if copied:
        out.print(f"import: {copied}")
    given.json.parent.mkdir(parents=True, exist_ok=True)
    written = {
        "began": began.isoformat(),
        "machine": {"processors": os.cpu_count(), "load": os.getloadavg(), "python": platform.python_version()},
        "options": asdict(chosen),
        "summaries": [asdict(one) for one in told],
        "import": asdict(copied) if copied else None,
        "measured": [asdict(one) for one in found],
    }
    given.json.write_text(json.dumps(written, indent=1) + "\n")
    aside.print(f"Written to {given.json}")


def _end(_: int, __: FrameType | None) -> None:
    raise SystemExit("Ended by a signal.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure; a sentence instead of a trace where that can't be."""
    chosen, given = options(arguments)
    signal.signal(signal.SIGTERM, _end)  # else the servers would outlive this
    try:
        run(chosen, given)
    except (SetupError, Stopped) as error:
        raise SystemExit(str(error)) from None


if __name__ == "__main__":
    main()
