"""Locks that live as long as whoever holds them."""

import subprocess
import threading
from pathlib import Path

import pytest

from service.errors import SetupError
from service.local import held
from tests.local.looking import until


def test_held_as_long_as_the_inheritor_lives(tmp_path: Path) -> None:
    """Not by whoever handed it on, and not after the inheritor's end, even by kill -9."""
    lock = tmp_path / "lock"
    assert not held.is_held(lock)
    with held.handed(lock) as file:
        process = subprocess.Popen(["/bin/sleep", "60"], pass_fds=(file,))
    with process:
        assert held.is_held(lock)
        with pytest.raises(SetupError, match="Another process took"), held.handed(lock):
            pass
        process.kill()
    assert not held.is_held(lock)


def test_turns_are_taken_one_after_the_other(tmp_path: Path) -> None:
    """A second thread waits for its turn, as a second process does."""
    lock, order = tmp_path / "lock", []

    def second() -> None:
        with held.turn(lock):
            order.append("second")

    with held.turn(lock):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(0.1)
        order.append("first")
    waiting.join(10)
    assert order == ["first", "second"]


def test_a_turn_that_never_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ends in a sentence."""
    monkeypatch.setattr(held, "TURN_SECONDS", 0.1)
    with (
        held.turn(tmp_path / "lock"),
        pytest.raises(SetupError, match="Another command has been starting or stopping"),
        held.turn(tmp_path / "lock"),
    ):
        pass
    until(lambda: not held.is_held(tmp_path / "lock"))
