"""`shelfmark worker`: jobs are run until a signal says stop."""

import asyncio
import signal
import sys

from service import settings
from service.cli.collecting import settle
from service.telemetry import configure_logging
from service.worker import of_worker, until_migrated, work

SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(slots: int | None, *, attended: bool = False) -> None:
    """Work until a signal says stop; a second one ends the process at once.

    Args:
        slots: how many jobs it runs at the same time; None: as the settings say; 0: it only hands out.
        attended: whether another process looks after it: it ends with that one, and waits until there is something to work on.

    Raises:
        SetupError: a setting is missing, or the database has no jobs.
    """
    loaded = of_worker(settings.load())
    if slots:
        loaded = loaded.model_copy(update={"job_slots": slots})  # their connections are counted
    configure_logging(loaded)

    async def until_told() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, _heard, loop, number, stop)
        settle()
        if attended:
            loop.add_reader(sys.stdin, stop.set)  # nobody writes there: it can be read when whoever holds the other end has died
            await until_migrated(loaded, stop)
        if not stop.is_set():
            await work(loaded, stop, slots)

    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(until_told())


def _heard(loop: asyncio.AbstractEventLoop, number: signal.Signals, stop: asyncio.Event) -> None:
    """Begin to end; the next such signal does what it does by itself."""
    stop.set()
    loop.remove_signal_handler(number)
    signal.signal(number, signal.SIG_DFL)


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()
