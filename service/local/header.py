"""The header that lets in whoever runs `shelfmark up`: `curl -H @.shelfmark/authorization ...` sends it."""

import re
from pathlib import Path

from service.local import private

NAME = "authorization"
LINE = re.compile(r"Authorization: Bearer (\S+)")


def kept(directory: Path) -> str | None:
    """The key in the directory's header, if there is one."""
    found = LINE.fullmatch(private.read(directory / NAME) or "")
    return found[1] if found else None


def keep(directory: Path, key: str) -> None:
    """Put a key there, in place of the one before."""
    private.write(directory / NAME, f"Authorization: Bearer {key}")
