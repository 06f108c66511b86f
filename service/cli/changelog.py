"""What CHANGELOG.md says of the version that isn't released yet."""

import re
from pathlib import Path

HEADING = re.compile(r"^## (.*)$", re.MULTILINE)
ITEM = re.compile(r"^[-*] ", re.MULTILINE)


def unreleased(file: Path) -> list[str]:
    """The items under the heading that has the word "unreleased", each on one line; none where there is no such file or heading."""
    try:
        _, *sections = HEADING.split(file.read_text())
    except OSError:
        return []
    texts = [text for heading, text in zip(sections[::2], sections[1::2], strict=True) if "unreleased" in heading.lower()]
    return [" ".join(item.split()) for text in texts for item in ITEM.split(text)[1:]]
