"""How many rows a question has, as far as a client asks to know; and what counted pages have in common, where they are kept."""

from typing import Any

from service.contract.choose import Choice
from service.db import Repository, Surface
from service.http.asking import Asking
from service.http.etags import view_of
from service.http.showing import Showing


async def counted(rows: Repository[Any], asking: Asking, choice: Choice, most: int, found: int | None) -> dict[str, Any]:
    """How many rows a question has: a value, and whether it is exact.

    Args:
        rows: whose table is asked.
        asking: what was asked; it wants a count.
        choice: the path that serves it.
        most: rows that are counted.
        found: how many a search has found; None for whatever isn't one.

    Raises:
        Problem: the database refused.
    """
    if asking.count == "estimated":
        return {"value": await rows.estimate(asking.question, choice), "exact": False}
    if found is not None:
        return {"value": min(found, most), "exact": found <= most}
    value, exact = await rows.count(asking.question, choice, most)
    return {"value": value, "exact": exact}


def alike(of: Surface, showing: Showing, asking: Asking, choice: Choice, most: int) -> bytes:
    """What pages have in common that differ only by their question's values and by where they begin.

    Args:
        of: the table that is asked.
        showing: what of its rows is shown, where nothing of that is worked out in Python.
        asking: what was asked.
        choice: the path that serves it.
        most: rows that are counted.
    """
    shown = view_of(showing.shape, tuple(asking.fields or showing.members))
    return repr((of.contract.table, shown, choice.path.name, choice.order, asking.limit, asking.count, most)).encode()
