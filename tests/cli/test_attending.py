"""The process that `shelfmark up` keeps: begun anew when it dies, ended in order with whoever keeps it."""

import io
import signal
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console

from service.cli import attending
from service.cli.attending import Attendant
from tests.fixtures.processes import BARE, kill, until

WORKS = """
import os, signal, sys, time
path = sys.argv[1]
open(path, "a").write(f"{os.getpid()}\\n")
signal.signal(signal.SIGTERM, lambda *_: (open(path, "a").write("ends\\n"), sys.exit(0)))
time.sleep(60)
"""
STUBBORN = WORKS.replace("sys.exit(0)", "None")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for."""
    monkeypatch.setattr(attending, "AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(attending, "GRACE_SECONDS", 0.1)
    monkeypatch.setattr(attending, "UNWIND_SECONDS", 0.3)


def attendant(tmp_path: Path, program: str = WORKS) -> tuple[Attendant, io.StringIO, Path]:
    """One that keeps a program, what it says, and what the program writes."""
    said, path = io.StringIO(), tmp_path / "written"
    path.touch()
    return Attendant((sys.executable, "-c", program, str(path)), BARE, Console(file=said, width=200)), said, path


def test_it_is_begun_anew_and_ended_in_order(tmp_path: Path) -> None:
    kept, said, path = attendant(tmp_path)
    kept.begin()
    until(lambda: path.read_text().count("\n") == 1)
    kill(int(path.read_text()))
    until(lambda: path.read_text().count("\n") == 2)
    time.sleep(0.05)  # until it heeds signals
    kept.end()
    assert path.read_text().splitlines()[2:] == ["ends"]
    assert said.getvalue().startswith(f"The worker has died (signal {signal.SIGKILL:d}). Another one begins in 0.02 s.")
    assert said.getvalue().count("\n") == 1


def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    kept, said, path = attendant(tmp_path, STUBBORN)
    kept.begin()
    until(lambda: path.read_text().count("\n") == 1)
    time.sleep(0.05)
    kept.end()
    assert "doesn't end, and is killed" in said.getvalue()


def test_one_that_dies_again_and_again_comes_ever_less_often(tmp_path: Path) -> None:
    kept, said, _ = attendant(tmp_path, "raise SystemExit(3)")
    kept.begin()
    until(lambda: said.getvalue().count("exit code 3") >= 3)
    kept.end()
    pauses = [float(line.split()[-2]) for line in said.getvalue().splitlines()]
    assert pauses[:3] == [0.02, 0.04, 0.08]


def test_ended_before_it_began(tmp_path: Path) -> None:
    kept, said, path = attendant(tmp_path)
    kept.end()
    kept.begin()
    assert (said.getvalue(), path.read_text()) == ("", "")
