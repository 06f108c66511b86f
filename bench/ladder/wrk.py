"""wrk, the load generator: closed loops on so many connections, keys drawn at random by `ladder.lua`, which tells its results."""

import json
import re
import resource
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from service.errors import SetupError

SCRIPT = Path(__file__).with_name("ladder.lua")
LINE = re.compile(r"^ladder (\{.*\})$", re.MULTILINE)
MISSING = "wrk is not there. It comes with the system's packages: `apt-get install wrk`, `dnf install wrk` or `brew install wrk`."


@dataclass(frozen=True, slots=True)
class Asked:
    """What is sent, again and again.

    Attributes:
        path: with `%d` where a number is drawn.
        least: of the numbers drawn.
        greatest: likewise.
        method: of HTTP.
        body: with `%d` too; empty: none.
        headers: sent with each request.
        status: what it is answered by.
        tags: for each number that may be drawn the ETag that is sent as `If-None-Match`; none: no such header is.
    """

    path: str
    least: int = 1
    greatest: int = 1
    method: str = "GET"
    body: str = ""
    headers: Mapping[str, str] | None = None
    status: int = 200
    tags: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Answered:
    """What wrk counted.

    Attributes:
        requests: answers that came.
        seconds: how long it asked.
        refused: answers of 400 and above, of all.
        broken: connections that failed, and answers that were waited for in vain.
        p50: milliseconds within which half of the answers came.
        p99: likewise, 99 of a hundred.
        cpu: seconds of processor time that wrk itself took.
    """

    requests: int
    seconds: float
    refused: int
    broken: int
    p50: float
    p99: float
    cpu: float = 0.0


def program() -> str:
    """Where wrk is.

    Raises:
        SetupError: it isn't.
    """
    found = shutil.which("wrk")
    if found is None:
        raise SetupError(MISSING)
    return found


def ask(port: int, asked: Asked, connections: int, seconds: float) -> Answered:
    """Ask for so many seconds, on so many connections.

    Raises:
        SetupError: wrk is missing, or says something else than its script does.
    """
    headers = [f"{name}: {value}" for name, value in (asked.headers or {}).items()]
    sent = [asked.method, asked.path, str(asked.least), str(asked.greatest), asked.body, "\n".join(asked.tags), *headers]
    options = ["-t1", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "10s", "-s", str(SCRIPT)]
    before = children_seconds()
    told = subprocess.run(  # noqa: S603  # found above
        [program(), *options, f"http://127.0.0.1:{port}", "--", *sent], capture_output=True, text=True, check=False
    )
    return parsed(told.stdout + told.stderr, children_seconds() - before)


def parsed(told: str, cpu: float = 0.0) -> Answered:
    """What wrk and its script say.

    Raises:
        SetupError: the script's line isn't there.
    """
    found = LINE.search(told)
    if found is None:
        raise SetupError(f"wrk didn't end as it should:\n{told.strip()}")
    line = json.loads(found[1])
    return Answered(
        requests=line["requests"],
        seconds=line["microseconds"] / 1e6,
        refused=line["refused"],
        broken=line["broken"],
        p50=line["p50"] / 1e3,
        p99=line["p99"] / 1e3,
        cpu=cpu,
    )


def children_seconds() -> float:
    """Seconds of processor time of the processes that this one has waited for."""
    times = resource.getrusage(resource.RUSAGE_CHILDREN)
    return times.ru_utime + times.ru_stime
