"""Where a contestant's time goes: its server under load, sampled by py-spy if that is there, else run under cProfile.

    python -m bench.ladder.profiling FILE MODULE ARGUMENTS...

runs a module under cProfile, as `python -m cProfile -m` does, and writes what it found when a signal ends it too.
"""

import cProfile
import io
import os
import pstats
import runpy
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from bench.ladder import wrk
from bench.ladder.contestants import BY_NAME

if TYPE_CHECKING:
    from bench.ladder.measuring import Ladder

LINES = 30
RATE = 500


def profile(ladder: "Ladder", name: str, workload: str) -> str:
    """What is found while a contestant is asked, as text."""
    one = BY_NAME[name]
    seconds = max(ladder.options.seconds, 5)
    spy = _spy()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "profile"
        with ladder.serving(one, profile=None if spy else str(file)) as (pid, port):
            command = [spy or "", "record", "-p", str(pid), "-d", str(seconds), "-r", str(RATE), "-f", "raw", "-o", str(file)]
            sampling = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) if spy else None  # noqa: S603
            answered = wrk.ask(port, ladder.asked(one, workload, port), ladder.options.usual, seconds + 1)
            if sampling:
                sampling.wait()
        found = sampled(file.read_text()) if spy else counted(file)
    rate = answered.requests / answered.seconds
    return f"{name}, {workload}, by {'py-spy' if spy else 'cProfile'}: {rate:,.0f} req/s while watched\n{found}"


def sampled(raw: str) -> str:
    """Samples, one stack a line with its number behind it: by themselves, and with what they call."""
    alone: Counter[str] = Counter()
    within: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, number = line.rpartition(" ")
        frames = stack.split(";")
        alone[frames[-1]] += int(number)
        for frame in set(frames):
            within[frame] += int(number)
    total = max(alone.total(), 1)
    parts = [("by itself", alone), ("with what it calls", within)]
    return "\n".join(
        "\n".join([title, *(f"  {n / total:6.1%}  {frame}" for frame, n in each.most_common(LINES))]) for title, each in parts
    )


def counted(file: Path) -> str:
    """What cProfile wrote. It makes calls dearer: read its order, not its times."""
    told = io.StringIO()
    pstats.Stats(str(file), stream=told).sort_stats("tottime").print_stats(LINES)
    return told.getvalue()


def _spy() -> str | None:
    return os.environ.get("BENCH_PY_SPY") or shutil.which("py-spy")


def _end(_: int, __: FrameType | None) -> None:
    raise SystemExit


def main() -> None:
    """Run a module, and write where its time went."""
    file, module = sys.argv[1:3]
    sys.argv = sys.argv[2:]
    signal.signal(signal.SIGTERM, _end)  # uvicorn raises the signal again when it has ended
    profiler = cProfile.Profile()
    try:
        profiler.runcall(runpy.run_module, module, run_name="__main__", alter_sys=True)
    finally:
        profiler.dump_stats(file)


if __name__ == "__main__":
    main()
