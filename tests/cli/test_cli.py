"""What all commands have in common: help for newcomers, sentences and exit codes for mistakes."""

import shlex
from pathlib import Path

import pytest

from tests.fixtures.processes import ALEMBIC, REPOSITORY, SECRET, SHELFMARK, run

COMMANDS = ["up", "serve", "migrate", "import", "sample", "keys", "contract", "doctor"]
OF_KEYS = ["keys create", "keys list", "keys rotate", "keys revoke"]


def test_help_names_every_command(scratch: Path) -> None:
    """Each with a sentence."""
    said = run(scratch, SHELFMARK, "--help").out
    lines = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.startswith("  ") and line.split()}
    assert all(len(lines[command]) > 3 for command in COMMANDS), said


@pytest.mark.parametrize("command", [*COMMANDS, *OF_KEYS])
def test_help_of_a_command(scratch: Path, command: str) -> None:
    """It needs no settings, and explains every option."""
    ended = run(scratch, SHELFMARK, *command.split(), "--help", DATABASE_URL="nonsense", SHELFMARK_PORT="nonsense")
    assert ended.code == 0
    options = [line.split() for line in ended.out.splitlines() if line.strip().startswith("--")]
    assert options
    assert all(len(option) > 2 for option in options), ended.out


@pytest.mark.parametrize("command", ["serve", "migrate", "import books books.csv", "sample", "keys list", "alembic upgrade head"])
def test_a_forgotten_database(scratch: Path, command: str) -> None:
    """The command ends with 2 and names the variable; nothing was made, least of all a database of its own."""
    program = {"alembic": [ALEMBIC, "-c", str(REPOSITORY / "alembic.ini")]}
    first, *rest = shlex.split(command)
    ended = run(scratch, *program.get(first, [SHELFMARK, first]), *rest, SHELFMARK_SECRETS=SECRET)
    assert ended.code == 2
    assert ended.err.startswith("DATABASE_URL is not set, and no PostgreSQL runs in .shelfmark.")
    assert "shelfmark up" in ended.err
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("command", ["migrate", "doctor"])
def test_a_wrong_setting(scratch: Path, command: str) -> None:
    """Every command names the variable, and never shows what it holds."""
    ended = run(scratch, SHELFMARK, *shlex.split(command), DATABASE_URL="postgresql://me:hunter2@host:many/name")
    assert ended.code == (1 if command == "doctor" else 2)
    assert "DATABASE_URL: can't be read" in ended.out + ended.err
    assert "hunter2" not in ended.out + ended.err
    assert "Traceback" not in ended.err
    assert list(scratch.iterdir()) == []


def test_an_unknown_command(scratch: Path) -> None:
    """It ends with 2, and says what is wrong."""
    ended = run(scratch, SHELFMARK, "served")
    assert ended.code == 2
    assert "No such command 'served'" in ended.err
