"""Invented books as CSV on stdout: `python -m bench.catalogue --books 1000000 > books.csv`."""

import argparse
import sys

from service.tables.sample import write


def main() -> None:
    """Write to stdout."""
    options = argparse.ArgumentParser(description="Write invented books as CSV.")
    options.add_argument("--books", type=int, default=10_000, help="how many")
    options.add_argument("--seed", type=int, default=1, help="other books for another number")
    given = options.parse_args()
    write(sys.stdout, given.books, given.seed)


if __name__ == "__main__":
    main()
