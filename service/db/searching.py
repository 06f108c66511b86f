"""A search becomes SQL: fenced and capped, so that nothing it does grows with the table but the reading of its own index.

First the keys of what matches, behind a fence where no order can tempt PostgreSQL to walk the primary key, and no more of them than
a search may find, and one; then the page's rows by their keys. What is looked for is a literal: a plan for any value would not know
how much it narrows. PostgreSQL folds it itself, when it plans, as it folded what the index keeps.

The connections that read have `enable_seqscan` off. For a pattern that it thinks common PostgreSQL would otherwise read the table
from its beginning until it has found enough, which is never where it is wrong.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import CTE, ColumnElement, Integer, Select, Text, any_, bindparam, cast, func, literal_column, or_, select
from sqlalchemy.dialects.postgresql import JSONB

from service.contract.question import Sought
from service.db.model import folded
from service.db.surface import Surface

SEARCH_MOST = 1000
FOUND = "shelfmark_found"
"""The column that says how many rows a search has found."""
NARROWER = "Narrow it: write more of the text, or name more members."
TOO_MANY = f"The search finds more than {{most}} rows. {NARROWER}"
TOO_SLOW = f"The search took longer than it may. {NARROWER}"
WILDCARDS = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


def holds(of: Surface, sought: Sought) -> ColumnElement[bool]:
    """The condition of a search, as the GIN index knows it."""
    expression = of.expressions[sought.name]
    if sought.operator == "has":
        return expression.op("@>", is_comparison=True)(cast(_written(sought.value), JSONB))
    return expression.like(folded(_written(f"%{sought.value.translate(WILDCARDS)}%")))


def searched(
    of: Surface, sought: Sought, columns: Sequence[str], *, limit: int, after: ColumnElement[Any] | None, most: int
) -> Select[Any]:
    """The rows of one page, in the order of the primary key, each with the number of all rows found.

    Args:
        of: what is searched.
        sought: for what.
        columns: names to select; each comes under its own name.
        limit: rows at the most.
        after: the primary key of the row that the page follows.
        most: rows that a search may find. One that finds more says `most` + 1, in at least one row: they are not all there.
    """
    primary = of.expressions[of.primary]
    matching = select(primary.label("key")).where(holds(of, sought)).limit(number(most + 1))
    found = matching.cte("shelfmark_matching").prefix_with("MATERIALIZED", dialect="postgresql")
    total = select(func.count()).select_from(found).scalar_subquery()
    page = _page(found, total, after, most).limit(number(limit)).cte("shelfmark_page")
    wanted = [*(of.expressions[name].label(name) for name in columns), total.label(FOUND)]
    keys = func.array(select(page.c.key).scalar_subquery())
    return select(*wanted).where(primary == any_(keys)).order_by(primary)


def number(value: int) -> ColumnElement[int]:
    """A number as a literal."""
    return literal_column(str(value), Integer())


def _page(found: CTE, total: Any, after: ColumnElement[Any] | None, most: int) -> Select[Any]:
    keys = select(found.c.key).order_by(found.c.key)
    return keys if after is None else keys.where(or_(found.c.key > after, total > number(most)))


def _written(value: str) -> ColumnElement[str]:
    return bindparam(None, value, type_=Text(), literal_execute=True)
