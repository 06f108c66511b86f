"""What `shelfmark up` prints when it is ready: where the docs are, and requests to try, made of what the tables answer."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path

from sqlalchemy import Integer

from service.contract.choose import choose
from service.contract.question import FOLDED, Question, Sort
from service.contract.refusal import refuse
from service.contract.served import served
from service.db import Surface
from service.db.wire import wire
from service.http.serve import Routes

MEMBERS, ROWS = 3, 3


def welcome(base: str, prefix: str, routers: Sequence[Routes], header: Path) -> str:
    """The lines that greet whoever started the service.

    Args:
        base: where it serves: `http://127.0.0.1:8000`.
        prefix: the path that all tables are below: `/v1`.
        routers: the tables.
        header: the file that holds the header with an API key.
    """
    lines = ["", f"Shelfmark serves on {base}", f"The API is documented at {base}/docs", f"Your API key is in {header}", ""]
    sent = shlex.quote(f"@{header}")
    found = [f"  curl -s -H {sent} '{base}{prefix}{path}'   # {meaning}" for path, meaning in tries(routers)]
    return "\n".join([*lines, *(["Try:", *found, ""] if found else []), "Ctrl-C ends it."])


def tries(routers: Sequence[Routes]) -> Iterator[tuple[str, str]]:
    """Paths to try, and what each one asks: a list, a lookup, and what no index serves."""
    shown = max(routers, key=_told, default=None)
    if shown is None:
        return
    of, name = shown.table.of, shown.table.of.contract.table
    asked = [_listed(of), _looked_up(of), _refused(of)]
    refusal = "what no index serves, refused with the line that would serve it"
    for query, meaning in zip(asked, (f"the first of {name}", f"two of {name} by their key", refusal), strict=True):
        if query:
            yield f"{shown.prefix}?{query}", meaning


def _told(router: Routes) -> tuple[bool, int]:
    """How much a table has to show: best one with a list that needs no filter, and many questions."""
    contract = router.table.of.contract
    return choose(contract, Question()) is not None, len(served(contract))


def _listed(of: Surface) -> str | None:
    """A list that needs no filter, with as few members as tell something."""
    fields = f"fields={','.join(_members(of))}&limit={ROWS}"
    if choose(of.contract, Question()):
        return fields
    lists = (one for one in served(of.contract) if one.kind == "list" and not one.filters and not one.ranged)
    return next((f"sort={one.sorts[0]}&{fields}" for one in lists), None)


def _looked_up(of: Surface) -> str | None:
    """Rows by a key that counts; other keys can't be guessed."""
    counts = isinstance(of.type_of(of.primary), Integer)
    return f"{of.primary}__in=1,2" if counts and choose(of.contract, Question(among={of.primary: (1, 2)})) else None


def _refused(of: Surface) -> str | None:
    """An order that no index gives."""
    orders = [Sort(name) for name in _plain(of)]
    unserved = (sort for sort in orders if choose(of.contract, Question(sort=(sort,))) is None)
    return next((f"sort={sort}" for sort in unserved if refuse(of.contract, Question(sort=(sort,))).index), None)


def _members(of: Surface) -> list[str]:
    """The key, and the columns that are ordered by most."""
    plain = _plain(of)
    order = [sort.name.removesuffix(FOLDED) for sort in of.contract.default_order]
    return [name for name in dict.fromkeys((of.primary, *order, *plain)) if name in plain][:MEMBERS]


def _plain(of: Surface) -> list[str]:
    """The columns that can be ordered by."""
    return [name for name in of.expressions if not name.endswith(FOLDED) and wire(of.type_of(name))]
