"""Numbers of several processes: what was told is never taken back, whoever is asked, and whoever dies when."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import orjson
import pytest

from service.telemetry.counting import Family, Numbers
from service.telemetry.sharing import Shared
from tests.fixtures.processes import REPOSITORY

ASKED = Family("asked_total", "counter", "")
BUSY = Family("busy", "gauge", "")
FAMILIES = {family.name: family for family in (ASKED, BUSY)}
TURNS = count()
Joined = Callable[[], Shared]


def numbers(asked: float, busy: float = 1) -> Numbers:
    """What a process has counted."""
    return {"asked_total": {(): [asked]}, "busy": {(): [busy]}}


def told(by: Shared, asked: float, busy: float = 1) -> tuple[float, float]:
    """What all have counted and what they have now, as one process tells it that has itself counted so many."""
    found = by.all(numbers(asked, busy), next(TURNS))
    return found["asked_total"][()][0], found["busy"][()][0]


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Joined]:
    """Processes of one service: each a place in the same directory."""
    made: list[Shared] = []

    def joined() -> Shared:
        made.append(Shared(tmp_path / "together", FAMILIES))
        made[-1].open()
        return made[-1]

    yield joined
    for one in made:
        one.close()


def test_whoever_is_asked_tells_of_all(join: Joined) -> None:
    one, other = join(), join()
    one.publish(numbers(5), next(TURNS))
    assert told(other, 7) == (12, 2)
    assert told(one, 6) == (13, 2)


def test_what_was_told_is_never_taken_back(join: Joined) -> None:
    """A process writes down what it tells before it tells it: the next one that is asked doesn't say less."""
    one, other = join(), join()
    assert told(one, 100)[0] == 100
    assert told(other, 0)[0] == 100
    one.publish(numbers(40), 0)  # a thread that comes late
    assert told(other, 0)[0] == 100


def test_what_one_counted_that_ended_stays(join: Joined) -> None:
    one, other = join(), join()
    one.publish(numbers(5, busy=3), next(TURNS))
    one.close()
    for _ in range(3):
        assert told(other, 1) == (6, 1)
    third = join()
    other.close()
    assert told(third, 10) == (16, 1)


def test_each_that_ended_counts_once_wherever_burying_it_broke_off(join: Joined, tmp_path: Path) -> None:
    """Its numbers were added to those of all that ended, and its own file was still there when the machine stopped."""
    one, other = join(), join()
    one.publish(numbers(5), next(TURNS))
    (left,) = (path for path in (tmp_path / "together").glob("*.json") if path.stem != "gone")
    content = left.read_bytes()
    one.close()
    assert told(other, 1) == (6, 1)
    left.write_bytes(content)
    for _ in range(2):
        assert told(other, 1) == (6, 1)
    assert not left.exists()


def test_nothing_piles_up(join: Joined, tmp_path: Path) -> None:
    """However many processes come and go, also those that count nothing or die while they write."""
    stays = join()
    for number in range(20):
        goes = join()
        if number % 2:
            goes.publish(numbers(1), next(TURNS))
            (tmp_path / "together" / f"{goes._name}..{goes._name}").touch()  # noqa: SLF001
        goes.close()
        assert told(stays, 0)[0] == (number + 1) // 2
    names = sorted(path.name for path in (tmp_path / "together").iterdir())
    assert len(names) == 4, names
    assert len(orjson.loads((tmp_path / "together" / "gone.json").read_bytes())["of"]) <= 1


def test_a_killed_process_is_gone_and_what_it_published_stays(join: Joined, tmp_path: Path) -> None:
    other = join()
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from tests.telemetry.test_sharing import FAMILIES, numbers\n"
        "from service.telemetry.sharing import Shared\n"
        f"shared = Shared(Path({str(tmp_path / 'together')!r}), FAMILIES)\n"
        "shared.open()\n"
        "shared.publish(numbers(9, 4), 0)\n"
        "print('there', flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "there\n"
        assert told(other, 1) == (10, 5)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert told(other, 1) == (10, 1)


def test_one_that_holds_the_directory_for_ever_holds_up_nobody_for_long(
    join: Joined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.telemetry.sharing.PATIENCE_SECONDS", 0.05)
    one, other = join(), join()
    with other._alone(), pytest.raises(BlockingIOError):  # noqa: SLF001
        told(one, 1)
    assert told(one, 1) == (1, 1)


def test_a_directory_that_is_gone_is_an_error(join: Joined, tmp_path: Path) -> None:
    one = join()
    for path in (tmp_path / "together").iterdir():
        path.unlink()
    (tmp_path / "together").rmdir()
    with pytest.raises(FileNotFoundError):
        one.publish(numbers(1), next(TURNS))


def test_others_on_the_machine_read_nothing(join: Joined, tmp_path: Path) -> None:
    join()
    assert (tmp_path / "together").stat().st_mode & 0o077 == 0
