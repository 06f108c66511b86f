"""`shelfmark contract`: the questions of every table, and how they differ from those that were committed."""

import json
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from service import schema
from service.cli.changelog import unreleased
from service.contract.changes import Change, Questions, changes
from service.contract.served import served
from service.errors import SetupError, ShelfmarkError

CHANGELOG = "CHANGELOG.md"
MARKS = {"added": "[green]+[/]", "widened": "[green]~[/]", "taken away": "[red]-[/]"}
UNTOLD = "  [red]breaking[/]"


def run(check: Path | None, write: Path | None = None) -> None:
    """Print the contract; or compare it with a file, and exit with 1 where that needs doing; or write the file.

    Raises:
        SetupError: the file can't be read as a contract.
        ShelfmarkError: a question would be taken away, and the changelog doesn't say so.
    """
    now = questions()
    if check is None and write is None:
        Console(highlight=False, soft_wrap=True).out(json.dumps(now, indent=2))
    if check is not None and _shown(check, now):
        raise SystemExit(1)
    if write is not None:
        _write(write, now)


def questions() -> Questions:
    """Table -> the combinations that clients may ask for, as text."""
    return {
        router.table.of.contract.table: sorted({str(one) for one in served(router.table.of.contract)})
        for router in schema.routers()
    }


def _shown(file: Path, now: Questions) -> bool:
    """Show how a file differs from what is served; whether something has to be done about it."""
    found = changes(_read(file), now)
    untold = _untold(found, file)
    new = [change for change in found if change.kind != "taken away"]
    out = Console(stderr=True, highlight=False, soft_wrap=True)
    table = None
    for change in found:
        if change.table != table:
            out.print(f"[bold]{escape(change.table)}[/]")
        table = change.table
        out.print(f"  {MARKS[change.kind]} {escape(_told(change))}{UNTOLD if change in untold else ''}")
    for line in _advice(untold, new, file):
        out.print(escape(line))
    if found and not untold and not new:
        out.print(escape(f"{CHANGELOG} says so. `make contract` takes it out of {file.name}."))
    return bool(untold or new)


def _told(change: Change) -> str:
    if change.kind == "widened":
        return f"widened: {change.question} is now {change.now}"
    narrowed = f" (narrowed to {change.now})" if change.now else ""
    return f"{change.kind}: {change.question}{narrowed}"


def _advice(untold: list[Change], new: list[Change], file: Path) -> list[str]:
    """What to do next, as lines to print."""
    lines = []
    if untold:
        lines += [
            f"{_count(untold)} taken away: that breaks clients. If it is meant, write under the unreleased heading of {CHANGELOG}:"
        ]
        lines += list(dict.fromkeys(f"- {_line(change)}" for change in untold))
    if new:
        lines.append(f"{_count(new)} added or widened: `make contract` writes {file.name} anew.")
    return lines


def _count(found: list[Change]) -> str:
    return "1 question" if len(found) == 1 else f"{len(found)} questions"


def _line(change: Change) -> str:
    """The line by which the changelog takes a question away."""
    return f"`{change.table}` is no longer served." if change.whole else f"`{change.table}` no longer answers `{change.question}`."


def _untold(found: list[Change], file: Path) -> list[Change]:
    """What is taken away, without a line of the changelog beside a file that says so."""
    items = unreleased(file.parent / CHANGELOG)

    def told(change: Change) -> bool:
        gone = f"`{change.table}` is no longer served"
        return any(
            (change.whole and gone in item) or (f"`{change.table}`" in item and f"`{change.question}`" in item) for item in items
        )

    return [change for change in found if change.kind == "taken away" and not told(change)]


def _write(file: Path, now: Questions) -> None:
    """Write a contract, where nothing is taken away without a word."""
    if file.exists():
        untold = _untold(changes(_read(file), now), file)
        if untold:
            raise ShelfmarkError("\n".join([f"{file} stays as it was.", *_advice(untold, [], file)]))
    beside = file.with_name(f"{file.name}.new")
    beside.write_text(json.dumps(now, indent=2) + "\n")
    beside.replace(file)


def _read(path: Path) -> Questions:
    try:
        content: Any = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SetupError(f"{path} can't be read as a contract: {error}. `make contract` writes it anew.") from None
    if not isinstance(content, dict) or not all(isinstance(found, list) for found in content.values()):
        raise SetupError(f"{path} isn't a contract. `make contract` writes it anew.")
    return {table: [str(question) for question in found] for table, found in content.items()}
