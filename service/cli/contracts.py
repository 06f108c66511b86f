"""`shelfmark contract`: the questions of every table, and how they differ from those that were committed."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console

from service import schema
from service.contract.served import served
from service.errors import SetupError

FILE_NAME = "contract.json"


def run(check: Path | None) -> None:
    """Print the contract, or compare it with a file and exit with 1 where they differ.

    Raises:
        SetupError: the file can't be read as a contract.
    """
    now = questions()
    if check is None:
        Console(highlight=False, soft_wrap=True).out(json.dumps(now, indent=2))
        return
    changes = list(differences(_read(check), now))
    for change in changes:
        Console(stderr=True, highlight=False, soft_wrap=True).out(change)
    if changes:
        raise SystemExit(1)


def questions() -> dict[str, list[str]]:
    """Table -> the combinations that clients may ask for, as text."""
    return {
        router.table.of.contract.table: sorted({str(one) for one in served(router.table.of.contract)})
        for router in schema.routers()
    }


def differences(before: dict[str, list[str]], now: dict[str, list[str]]) -> list[str]:
    """What was added and what was taken away, as sentences. Taking away is a breaking change."""
    old = {(table, question) for table, found in before.items() for question in found}
    new = {(table, question) for table, found in now.items() for question in found}
    gone = [f"taken away (breaking): {table} no longer answers {question}" for table, question in sorted(old - new)]
    come = [f"added: {table} answers {question}" for table, question in sorted(new - old)]
    hint = [f"If that is meant, write it down: make contract, and a line in CHANGELOG.md for what was taken away. ({FILE_NAME})"]
    return gone + come + (hint if gone or come else [])


def _read(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} can't be read as a contract: {error}. `make contract` writes it anew.") from None
    if not isinstance(content, dict) or not all(isinstance(found, list) for found in content.values()):
        raise SetupError(f"{path} isn't a contract. `make contract` writes it anew.")
    return {table: [str(question) for question in found] for table, found in content.items()}
