"""What runs on each new migration file: `ruff format`, where ruff is installed.

Usage: python -m service.migrations.formatting FILE
"""

import importlib.util
import subprocess
import sys


def tidy(path: str) -> None:
    """Format one file in place. Without ruff the file stays as it was written, and works just the same."""
    if importlib.util.find_spec("ruff") is not None:
        subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", path], check=False)  # noqa: S603


if __name__ == "__main__":
    tidy(sys.argv[1])
