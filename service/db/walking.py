"""A question walked from its beginning to its end, page by page, each a short read along whichever index serves it by then.

Nothing holds the pages together but the last row's keys: no transaction, no cursor of PostgreSQL's, no OFFSET. A row that is there
all the time, and whose keys don't change, is met exactly once; others may be met or missed. An index that is withdrawn on the way
is replaced by another one that serves the question, since all of them give the same rows in the same order.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from service.contract.choose import Choice
from service.contract.question import Question
from service.db.reading import Compiled, compiled, page_as_rows
from service.db.rendering import rendered
from service.db.repository import Repository
from service.db.session import Database
from service.db.statements import Asked, values
from service.db.surface import Surface

Keys = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Rows that follow each other.

    Attributes:
        rows: as the walk gives them.
        last: the keys of the last of them, in the question's completed order; None where no row follows.
    """

    rows: Sequence[Any]
    last: Keys | None


class Walk(Protocol):
    """A question, ready to be walked."""

    async def page(self, last: Keys | None, limit: int) -> Stretch:
        """The next rows.

        Args:
            last: `last` of the stretch before; None: from the beginning.
            limit: rows at the most; a lookup of several values isn't cut.

        Raises:
            IndexNotReady: no index that the database has serves the question any more.
            Problem: the database is away, busy or slow; or a search finds too much.
        """


def writable(of: Surface, columns: Sequence[str]) -> bool:
    """Whether PostgreSQL writes the values of all these columns."""
    return all(name in of.expressions and rendered(of.expressions[name]) is not None for name in columns)


class Written:
    """Rows that PostgreSQL writes: each is one JSON object, or a text for each column.

    Args:
        database: where they are.
        of: what is asked.
        question: a list or a lookup that its contract serves.
        columns: the names that are wanted, all of them writable.
        cells: a text for each column is wanted.
    """

    def __init__(self, database: Database, of: Surface, question: Question, columns: Sequence[str], *, cells: bool) -> None:
        self._database, self._of, self._question = database, of, question
        self._columns, self._cells = columns, cells
        self._width = len(columns) if cells else 1
        self._made: dict[tuple[Any, ...], Compiled] = {}

    async def page(self, last: Keys | None, limit: int) -> Stretch:
        """The next rows, each a tuple of texts."""
        choice = chosen(self._database, self._of, self._question)
        after = None if last is None else dict(zip((sort.name for sort in choice.order), last, strict=True))
        statement = self._statement(choice, limit, after)
        given = partial(statement.arguments, values(self._question, after))
        ready = partial(self._database.catalogue.check, self._of.contract.table, choice.path.name)
        records = await self._database.fetch(statement.sql, given, ready)
        follows = choice.kind == "list" and len(records) == limit
        keys = tuple(statement.result(records[-1])[self._width :]) if follows else None
        return Stretch([record[: self._width] for record in records], keys)

    def _statement(self, choice: Choice, limit: int, after: Mapping[str, Any] | None) -> Compiled:
        """The statement of a page; the NULLs of the row before decide in which ranges it begins."""
        nulls = () if after is None else tuple(value is None for value in after.values())
        shape = (choice.path.name, limit, nulls)
        if shape not in self._made:
            asked = Asked(self._of, self._question, choice)
            page = page_as_rows(asked, self._columns, limit, after, cells=self._cells)
            if page is None:
                raise LookupError("a column that PostgreSQL doesn't write")
            self._made[shape] = compiled(page, self._database.reads.engine.dialect)
        return self._made[shape]


class Loaded:
    """Rows as objects of the model.

    Args:
        rows: the table's queries.
        of: what is asked.
        question: any that its contract serves.
        columns: the names to load; all where None.
        search_most: rows that a search may find.
    """

    def __init__(
        self, rows: Repository[Any], of: Surface, question: Question, columns: Sequence[str] | None, search_most: int
    ) -> None:
        self._rows, self._of, self._question = rows, of, question
        self._columns, self._search_most = columns, search_most

    async def page(self, last: Keys | None, limit: int) -> Stretch:
        """The next rows, detached."""
        choice = chosen(self._rows.database, self._of, self._question)
        page = await self._rows.ask(self._question, choice, limit, after=last, columns=self._columns, search_most=self._search_most)
        return Stretch(page, page.last)


def chosen(database: Database, of: Surface, question: Question) -> Choice:
    """The path that serves a question now.

    Raises:
        IndexNotReady: each that would is withdrawn.
        LookupError: none ever would.
    """
    choice = database.catalogue.chosen(of.contract, question)
    if choice is None:
        raise LookupError(f"no index of {of.contract.table} serves {question}")
    return choice
