"""Small files that only their owner may read: a secret, a key. Each is there whole or not at all."""

import os
from pathlib import Path


def read(path: Path) -> str | None:
    """What stands in a file, without the space around it; None where there is none. Takes it back from other readers."""
    try:
        found = path.read_text().strip()
    except FileNotFoundError:
        return None
    path.chmod(0o600)
    return found


def write(path: Path, content: str) -> None:
    """Put a line into a file, in place of what stood there."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(content + "\n")
    new.replace(path)
