"""One service in several processes: each keeps its numbers in a file, and whoever is asked adds all of them up.

What is told is never less than what was told before, whichever process is asked: a process writes down what it counts before it
tells it, a file is replaced as a whole, and what a process counted that has ended stays, in one file for all of those. Who holds
its lock is alive; the kernel takes the lock back from who isn't, however that came.
"""

import fcntl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedWriter
from pathlib import Path
from threading import Lock
from uuid import uuid4

import orjson

from service.telemetry.counting import Family, Numbers, together

GONE = "gone"
"""The file for all processes that have ended."""
ALL = "all"
"""Who holds this lock has the directory to itself."""
NUMBERS, LOCKED = ".json", ".lock"
PATIENCE_SECONDS = 1.0
PAUSE_SECONDS = 0.01


class Shared:
    """A process's place among the others of its service. Everything here may wait for a disk: it is called in a thread.

    Args:
        directory: where they meet; it is made where it is missing.
        families: what they count.
    """

    def __init__(self, directory: Path, families: Mapping[str, Family]) -> None:
        self._directory, self._families = directory, families
        self._name = uuid4().hex
        self._held: BufferedWriter | None = None
        self._writing, self._newest = Lock(), -1

    def open(self) -> None:
        """Be there.

        Raises:
            OSError: the directory can't be written to, or another process holds it for too long.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._alone():
            self._held = self._file(self._name, LOCKED).open("ab")
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def publish(self, numbers: Numbers, turn: int) -> None:
        """Write down what this process has counted, in place of what it wrote before.

        Args:
            numbers: all that it has counted so far.
            turn: grows with them; what comes late, from another thread, is left out.

        Raises:
            OSError: it can't be written.
        """
        with self._writing:
            if turn > self._newest:
                self._write(self._name, {"numbers": _packed(numbers)})
                self._newest = turn

    def all(self, numbers: Numbers, turn: int) -> Numbers:
        """What all processes have counted.

        Args:
            numbers: this one's own; they are written down before they are told.
            turn: as for `publish`.

        Raises:
            OSError: the directory can't be used, or another process holds it for too long.
        """
        self.publish(numbers, turn)
        with self._alone():
            gone = self._buried()
            living = [self._read(name)[0] for name in self._names() if name != self._name]
        return together(self._families, [numbers, *living], [gone])

    def close(self) -> None:
        """Be there no more: what was published last stays."""
        if self._held:
            self._held.close()
            self._held = None

    def _buried(self) -> Numbers:
        """What processes have counted that ended: put together in one file, of each once, wherever this is broken off."""
        numbers, within = self._read(GONE)
        dead = [name for name in self._names() if not self._lives(name)]
        new = [name for name in dead if name not in within]
        if new:
            numbers = together(self._families, [], [numbers, *(self._read(name)[0] for name in new)])
            self._write(GONE, {"numbers": _packed(numbers), "of": dead})
        for name in dead:
            for left in self._directory.glob(f"*{name}*"):  # what it was writing just then, too
                left.unlink(missing_ok=True)
        return numbers

    def _lives(self, name: str) -> bool:
        try:
            with self._file(name, LOCKED).open("rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """The directory to this process alone, but for what each writes about itself."""
        until = time.monotonic() + PATIENCE_SECONDS
        with self._file(ALL, LOCKED).open("ab") as lock:
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise
                    time.sleep(PAUSE_SECONDS)
            yield

    def _names(self) -> list[str]:
        found = {path.stem for end in (NUMBERS, LOCKED) for path in self._directory.glob("*" + end)}
        return sorted(found - {GONE, ALL})

    def _read(self, name: str) -> tuple[Numbers, list[str]]:
        """A file's numbers, and whose they are."""
        with suppress(FileNotFoundError):
            told = orjson.loads(self._file(name, NUMBERS).read_bytes())
            return {
                family: {tuple(labels): each for labels, each in series} for family, series in told["numbers"].items()
            }, told.get("of", [])
        return {}, []

    def _write(self, name: str, told: Mapping[str, object]) -> None:
        new = self._file(name, f".{self._name}")
        new.write_bytes(orjson.dumps(told))
        new.replace(self._file(name, NUMBERS))

    def _file(self, name: str, end: str) -> Path:
        return self._directory / (name + end)


def _packed(numbers: Numbers) -> dict[str, list[tuple[tuple[str, ...], list[float]]]]:
    """Numbers as JSON has them."""
    return {family: list(series.items()) for family, series in numbers.items()}
