"""A table with rows, whose indexes migrations of its own change."""

from collections.abc import Callable
from typing import Any

TABLE = """
CREATE TABLE books (id bigint PRIMARY KEY, title text, year integer);;
INSERT INTO books SELECT n, 'a' || n, n FROM generate_series(1, 50) n;; SELECT 1
"""
INDEXES = """
SELECT x.relname::text AS name, split_part(pg_get_indexdef(i.indexrelid), ' USING ', 2) AS words, i.indisvalid AS valid,
       i.indisunique AS only
FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid WHERE i.indrelid = 'books'::regclass AND NOT i.indisprimary ORDER BY 1
"""
BY_YEAR = "op.build_index('ix', 'books', 'btree (year)')"
BY_TITLE = "op.build_index('ix', 'books', 'btree (lower(title), id)')"
REMOVED = "op.remove_index('ix', 'books')"

Upgrade = Callable[..., None]
"""Write a revision of these lines, and go there."""
Found = Callable[[], dict[str, Any]]
"""The indexes but for the key: the name, and its words if it is valid."""
