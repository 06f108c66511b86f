"""Migrations read by squawk, a linter of SQL, as the SQL that they become on their way forward."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from alembic.script import Script

from service.errors import SetupError
from service.migrations.planning import written

EXCEPTED = re.compile(r"^ *# squawk: (?P<rule>[a-z-]+), *(?P<reason>\S.*)$", re.MULTILINE)
CONFIG = Path(__file__).parents[2] / ".squawk.toml"


def squawked(migrations: Sequence[Script]) -> Iterator[str]:
    """What squawk objects to, a sentence for each, apart from what a migration excepts with a reason.

    Raises:
        SetupError: squawk isn't installed, or can't read its configuration.
    """
    excepted = {migration.revision: _excepted(Path(migration.path)) for migration in migrations}
    names = {migration.revision: Path(migration.path).name for migration in migrations}
    with tempfile.TemporaryDirectory() as folder:
        files = [file for migration in migrations for file in _written(Path(folder), migration)]
        for found in _run(files):
            revision = Path(found["file"]).stem
            if found["rule_name"] not in excepted[revision]:
                yield f"{names[revision]}: {_sentence(found)}"


def _excepted(path: Path) -> set[str]:
    return {found["rule"] for found in EXCEPTED.finditer(path.read_text())}


def _written(folder: Path, migration: Script) -> Iterator[Path]:
    """A migration as a file of SQL, in its transaction; nothing if it asks a database on its way."""
    sql = written(migration.module.upgrade)
    if sql is not None:
        file = folder / f"{migration.revision}.sql"
        file.write_text(f"BEGIN;\n{sql}\nCOMMIT;\n")
        yield file


def _run(files: Sequence[Path]) -> list[dict[str, Any]]:
    beside = Path(sys.executable).with_name("squawk")
    program = str(beside) if beside.exists() else shutil.which("squawk")
    if program is None:
        raise SetupError("squawk isn't installed. It comes with the development tools: rm -r .venv, and make check again.")
    if not files:
        return []
    command = [program, "--config", str(CONFIG), "--reporter", "json", *map(str, files)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - our own words
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)
    except ValueError:
        raise SetupError(f"squawk can't read the migrations: {done.stderr.strip() or done.stdout.strip()}") from None
    return found


def _sentence(found: dict[str, Any]) -> str:
    """What it objects to, where, and what it would have instead."""
    lines = Path(found["file"]).read_text().splitlines()
    statement = " ".join(lines[found["line"]].split()) if found["line"] < len(lines) else ""
    advice = f" {found['help']}" if found["help"] else ""
    rule = found["rule_name"]
    return f"{rule}: {found['message']}{advice} It reads: {statement} To let it pass, give the reason: # squawk: {rule}, ..."
