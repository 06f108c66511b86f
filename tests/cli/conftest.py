"""Where the commands run."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from service import local


@pytest.fixture
def scratch() -> Iterator[Path]:
    """An empty directory with a short path that every user can pass through, so that servers may live in it."""
    made = Path(tempfile.mkdtemp(prefix="sm-", dir="/tmp"))
    made.chmod(0o755)
    yield made
    local.stop(made / ".shelfmark")
    shutil.rmtree(made)
