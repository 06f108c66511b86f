"""How the web server ends: `/readyz` says no, then no connection is taken any more, what is in flight ends, the pools close.

One process: the first SIGTERM or SIGINT begins this, a second one ends the process at once. Several: the first process hears the
signals and tells the others, replaces those that die, and on a second signal kills them; they themselves hear only the first, since
a terminal or a process manager may send it to all of them, and then it comes twice. For the same reason what follows the first
signal within a moment is no second one: what starts the service (`timeout`, make, a runner of several commands) hands on what the
terminal has sent already.
"""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

from uvicorn import Config, Server
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess, multiprocess

from service.cli.collecting import settle

if TYPE_CHECKING:  # a new process imports this module before it answers the first one's question whether it lives
    from fastapi import FastAPI

    from service.settings import Settings

SIGNALS = (signal.SIGTERM, signal.SIGINT)
SIGNALLED = 128
"""A shell's exit code for a signal, less its number."""
FAILURE = 1
ECHO_SECONDS = 0.25
"""Within which a signal is the first one again: nobody presses a key twice as quickly; who hands a signal on does so at once."""


class Told:
    """The signals that said stop: the first, and the second."""

    def __init__(self) -> None:
        self._first: float | None = None
        self.second: int | None = None

    def hear(self, number: int) -> bool:
        """Take note of a signal; whether it is the first."""
        now = time.monotonic()
        if self._first is None:
            self._first = now
            return True
        if now - self._first > ECHO_SECONDS:
            self.second = number
        return False


class Draining(Server):
    """uvicorn's server, with time to drain between the signal and what it does about it."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._told = Told()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end, or end at once if this is the only process and has begun already."""
        if not self.started:  # there may be no application yet
            super().handle_exit(sig, frame)
        elif self._told.hear(sig):
            self._app.state.traffic.draining = True
            self._captured_signals.append(sig)
            self._loop.call_soon_threadsafe(self._loop.call_later, self._settings.drain_seconds, self._exit)
        elif self._told.second and self._settings.web_concurrency == 1:
            signal.signal(sig, signal.SIG_DFL)
            signal.raise_signal(sig)

    def _exit(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to serve."""
        self._loop = asyncio.get_running_loop()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        await super().startup(sockets)
        settle()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections but those that clients think are taken, and answer what is in flight."""
        last = [connection for server in self.servers for connection in _close(server)]
        for connection in last:
            with suppress(OSError):
                await self._loop.connect_accepted_socket(self._protocol, connection)
        await super().shutdown(sockets)

    @property
    def _app(self) -> "FastAPI":
        app: FastAPI = self.config.loaded_app
        return app

    @property
    def _settings(self) -> "Settings":
        settings: Settings = self._app.state.service.settings
        return settings

    def _protocol(self) -> asyncio.Protocol:
        made: asyncio.Protocol = self.config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn calls it
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


def _close(server: asyncio.base_events.Server) -> list[socket.socket]:
    """Stop listening; the connections that stood in the kernel's queue, and would have been reset."""
    found = []
    listening = [socket.socket(fileno=os.dup(one.fileno())) for one in server.sockets]
    for one in listening:
        one.settimeout(0)
        with suppress(OSError):
            while True:
                found.append(one.accept()[0])
    server.close()
    for one in listening:
        one.close()
    return found


@contextmanager
def ending_well() -> Iterator[None]:
    """Let a process that drained end with 0: uvicorn raises the signal once more when it is done."""
    before = {number: signal.signal(number, _done) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _done(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


class Worker(multiprocess.Process):
    """One of several processes."""

    def start(self) -> None:
        """Begin; an interrupt from the terminal waits until the new process can end in order, which it can't while it imports.

        Its end of the pipe is left to it alone: else who asks whether it lives isn't told that it died meanwhile, and waits.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        self.child_conn.close()

    def target(self, sockets: list[socket.socket] | None = None) -> None:
        """Run in the new process: an interrupt that it has heeded is no mistake."""
        with suppress(KeyboardInterrupt):
            super().target(sockets)

    @property
    def server(self) -> Server:
        """What runs in it."""
        if self._server is None:
            self._server = Draining(self.config)
        return self._server


multiprocess.Process = Worker  # type: ignore[misc]  # the name by which uvicorn's supervisor makes its processes


class Supervising(Multiprocess):
    """uvicorn's supervisor, that can be told twice, and doesn't wait for ever."""

    def __init__(self, config: Config, patience_seconds: float) -> None:
        super().__init__(config, [config.bind_socket()])
        self._patience_seconds = patience_seconds
        self._killed = self._failed = False
        self._told = Told()
        for number in SIGNALS:
            signal.signal(number, self._hear)

    def _hear(self, number: int, _frame: FrameType | None) -> None:
        if self._told.hear(number):
            self.signal_queue.append(number)

    def terminate_all(self) -> None:
        """Tell the processes to end. They have the socket too: once each has closed its own, nobody can connect."""
        self._failed = STARTUP_FAILURE in [process.exitcode for process in self.processes]  # not of one that just begins
        super().terminate_all()
        for listening in self.sockets:
            listening.close()

    def join_all(self) -> None:
        """Wait for the processes; kill them after a second signal, or when they take too long."""
        until = time.monotonic() + self._patience_seconds
        for process in self.processes:
            while process.process.is_alive():
                process.process.join(0.05)
                if self._told.second or time.monotonic() > until:
                    self._killed = True
                    process.process.kill()

    def code(self) -> int:
        """The exit code: 0 if every process drained."""
        if self._killed and self._told.second:
            return SIGNALLED + self._told.second
        return FAILURE if self._killed or self._failed else 0
