"""How many buffers are enough, for each kind of path: the one place where that is said, with the reason.

A buffer is a page of 8 KB that PostgreSQL touches, in memory or not: a count, so that the machine's speed plays no part. What long
values take that stand apart (TOAST) isn't counted: that is the rows' own size. No budget but a search's grows with the table.
"""

import math

DESCENT = 6
"""From the root of a B-tree to an entry: 3 pages for a million rows, 5 for a hundred million with long keys, and one leaf more."""
ROW = 1.25
"""Each row of a page may stand on a page of its own in the table, and every fourth entry on another leaf."""
PLANNING = 24
"""A plan that knows its values looks at both ends of each index that begins with the same key: how far from there is a value?"""
GROWTH = 4
"""By how much the last of many runs may exceed the first: a split page, a version of a row that can't be removed yet."""
FOUND = 1.0
"""Each row that a search finds may stand on a page of its own."""
POSTED = 1 / 400
"""What a search reads of its index: an entry takes some bytes for each row that has it, and a text has some fifty entries."""


def page(rows: int, ranges: int) -> int:
    """For rows along an index.

    Args:
        rows: that it answered.
        ranges: places where the index is entered: one for a first page, one for each value of a lookup.
    """
    return PLANNING + DESCENT * ranges + math.ceil(ROW * rows)


def search(most: int, rows: int, table_rows: int) -> int:
    """For a search.

    Args:
        most: rows that it may find.
        rows: of the page, that are read again by their keys.
        table_rows: of the whole table: an entry of a GIN index grows with it.
    """
    return PLANNING + math.ceil(FOUND * (most + 1)) + (DESCENT + 1) * rows + math.ceil(POSTED * table_rows)
