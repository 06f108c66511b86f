"""A table's queries. Subclass it for yours: `class Books(Repository[Book])`, and give each query a name and an index.

Rows come back detached, with their columns loaded: compare ids, not identity. Reads take a connection for as long as they need it;
writes are units of work, or ride the one they are called in.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar, Generic, TypeVar, cast, get_args

from sqlalchemy import Index, PrimaryKeyConstraint, delete, insert, select, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import QueryableAttribute, selectinload

from service.contract.choose import Choice, choose
from service.contract.question import Question, Sort
from service.contract.search import sought
from service.db.catalogue import Keeper
from service.db.estimate import estimated
from service.db.faults import problem
from service.db.measuring import Measured
from service.db.model import Model, table_of
from service.db.noticing import TOLD
from service.db.searching import FOUND, SEARCH_MOST, TOO_MANY, TOO_SLOW
from service.db.session import Database, once_more
from service.db.statements import Asked, upserted
from service.db.surface import Surface, surface
from service.db.unit import Unit
from service.errors import Internal, NotFound, Problem, TimedOut, TooManyMatches

M = TypeVar("M", bound=Model)
T = TypeVar("T")
Reading = Callable[[AsyncSession], Awaitable[Sequence[Any]]]
ANEW = {"populate_existing": True}  # within one unit of work, a row read before is still read again


class Page(list[M]):
    """Rows of one page, and where the next one begins.

    Attributes:
        last: the keys of the last row, in the order of the question's completed order; None where no row follows.
        found: how many rows a search has found in all; None where nobody counted.
    """

    last: tuple[Any, ...] | None = None
    found: int | None = None


class Repository(Generic[M]):
    """Queries and writes of one table."""

    model: ClassVar[type[Model]]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in getattr(cls, "__orig_bases__", ()):
            for argument in get_args(base):
                if isinstance(argument, type) and issubclass(argument, Model):
                    cls.model = argument

    def __init__(self, database: Database) -> None:
        self.database = database

    @property
    def surface(self) -> Surface:
        """What can be asked of the table."""
        return surface(self.model)

    async def get(self, key: Any) -> M:
        """The row with this primary key.

        Raises:
            NotFound: there is none.
        """
        found = select(self._model).where(self._primary == key)
        row = await self._read(lambda: self.rides(self._key), lambda session: session.scalar(found, execution_options=ANEW))
        return self._found(row, key)

    async def many(self, keys: Iterable[Any]) -> list[M]:
        """The rows with these primary keys that exist, in the order of the keys."""
        found = select(self._model).where(self._primary.in_(list(keys))).order_by(self._primary)
        return list(await self._read(lambda: self.rides(self._key), lambda session: session.scalars(found, execution_options=ANEW)))

    async def one(self, path: Index, **keys: Any) -> M | None:
        """The row with these keys of a unique index, or None."""
        page = await self.ask(Question(equals=keys), self._along(path, Question(equals=keys)), 1)
        return next(iter(page), None)

    async def page(
        self, path: Index, *, sort: Sequence[Sort] | None = None, limit: int = 50, after: Sequence[Any] | None = None, **equals: Any
    ) -> Page[M]:
        """Rows along one index, by name.

        Args:
            path: an index of the model: `Book.by_author`.
            sort: one of the two orders that the index gives; by default forward.
            limit: rows at the most.
            after: the `last` of the page before.
            equals: name -> value for the index's leading keys, and for what its predicate asks.

        Raises:
            ValueError: the index doesn't serve that.
        """
        question = Question(equals=equals, sort=tuple(sort) if sort else self._forward(path, equals))
        return await self.ask(question, self._along(path, question), limit, after=after)

    async def search(self, path: Index, text: str, *, limit: int = 50, after: Sequence[Any] | None = None) -> Page[M]:
        """Rows that contain something, by primary key.

        Args:
            path: a GIN index of the model: `Book.search_title`.
            text: a part of a text, or a JSON object as text.
            limit: rows at the most.
            after: the `last` of the page before.

        Raises:
            ValueError: the index serves no search, or has nothing to look for.
            TooManyMatches: too many rows contain it.
        """
        found = next((found for found in self.surface.contract.searches if found.name == path.name), None)
        if found is None:
            raise ValueError(f"{path.name} serves no search")
        question = Question(searches=(sought(found, text),))
        return await self.ask(question, self._along(path, question), limit, after=after)

    async def ask(
        self,
        question: Question,
        choice: Choice,
        limit: int,
        *,
        after: Sequence[Any] | None = None,
        columns: Sequence[str] | None = None,
        include: Sequence[QueryableAttribute[Any]] = (),
        search_most: int = SEARCH_MOST,
    ) -> Page[M]:
        """The rows of a question that the contract serves.

        Args:
            question: as the client asked it.
            choice: the path that `choose` found.
            limit: rows at the most; a lookup of several values isn't cut.
            after: the `last` of the page before.
            columns: the names to load; all where None.
            include: relations to load too, one more query for each.
            search_most: rows that a search may find.

        Raises:
            TooManyMatches: a search found more, or took too long to know.
        """
        of, search = self.surface, choice.kind == "search"
        order = [sort.name for sort in choice.order]
        names = dict.fromkeys((*(columns or (attribute.key for attribute in of.model.__mapper__.column_attrs)), of.primary, *order))
        last = None if after is None else dict(zip(order, after, strict=True))
        statement = Asked(of, question, choice).page(list(names), limit + 1, last, search_most)
        expressions = [statement.selected_columns[name] for name in (*order, *([FOUND] if search else ()))]
        query = select(self._model, *expressions).from_statement(statement).options(*map(selectinload, include))
        asked = Measured(self.database, of.contract, question, choice.path.name, statement)
        found = await self._rows(partial(asked.rows, query), choice, include, search_most if search else None)
        page = Page(row[0] for row in (found if choice.kind == "many" else found[:limit]))
        if len(found) > limit and choice.kind in {"list", "search"}:
            page.last = tuple(found[limit - 1][1 : len(order) + 1])
        if search and (found or after is None):
            page.found = found[0][-1] if found else 0
        return page

    async def count(self, question: Question, choice: Choice, most: int) -> tuple[int, bool]:
        """How many rows a question has, counted up to `most`, and whether that is all of them."""
        counted = Asked(self.surface, question, choice).capped(most)
        number = int(await self._read(lambda: self._along_path(choice), lambda session: session.scalar(counted)) or 0)
        return min(number, most), number <= most

    async def estimate(self, question: Question, choice: Choice) -> int:
        """How many rows PostgreSQL's planner expects a question to have."""
        everything = Asked(self.surface, question, choice).everything()
        return await self._read(lambda: self._along_path(choice), lambda session: estimated(session, everything))

    @once_more
    async def create(self, /, **values: Any) -> M:
        """Insert a row, and return it as the database keeps it: rounded, folded, with its defaults.

        Raises:
            Problem: the database refuses a value.
        """
        async with self.database.writing() as unit:
            row = await self._inserted(unit, values)
            unit.note("created", [row])
            return row

    @once_more
    async def change(self, /, key: Any, **values: Any) -> M:
        """Change a row's values; those not named stay.

        Raises:
            NotFound: there is no such row.
        """
        if not values:
            return await self.get(key)
        async with self.database.writing() as unit:
            self.rides(self._key)
            old, more = unit.noticed.before(self.surface, same := self._primary == key)
            statement = update(self._model).where(same, *more).values(**values).returning(self._model, *old)
            row, *was = self._found((await unit.session.execute(statement, execution_options=ANEW | TOLD)).first(), key)
            unit.note("changed", [row], was)
            return cast("M", row)

    @once_more
    async def delete(self, key: Any) -> None:
        """Delete a row.

        Raises:
            NotFound: there is no such row.
            Conflict: other rows refer to it.
        """
        async with self.database.writing() as unit:
            self.rides(self._key)
            self.database.catalogue.need_to_delete(self.model)
            gone = delete(self.model).where(self._primary == key).returning(self._primary, *unit.noticed.gone(self.surface))
            _, *was = self._found((await unit.session.execute(gone, execution_options=TOLD)).first(), key)
            unit.note_gone(table_of(self.model).name, key, was)

    @once_more
    async def batch(self, rows: Sequence[Mapping[str, Any]]) -> list[M]:
        """Insert rows in one transaction, all or none. None is NULL, whatever the column's default is.

        Raises:
            Problem: what the database refuses, with the first such row as `row`, counted from 0.
        """
        if not rows:
            return []
        async with self.database.writing() as unit:
            try:
                async with unit.session.begin_nested():
                    adding = insert(self._model).returning(self._model, sort_by_parameter_order=True)
                    new = await unit.session.scalars(adding, [*map(dict, rows)], execution_options=TOLD | {"render_nulls": True})
                unit.note("created", made := list(new))
            except DBAPIError as error:
                found = problem(error)
                if found is None or found.status >= Internal.status:
                    raise
                raise await self._first_refused(unit, rows) or found from error
            return made

    @once_more
    async def upsert(self, rows: Sequence[Mapping[str, Any]], on: Index) -> list[M]:
        """Insert rows, or change those that hold the same keys of a unique index; in one statement.

        Args:
            rows: all with the same names, and no two with the same keys.
            on: a unique index of the model: `Book.unique_source`.
        """
        if not rows:
            return []
        async with self.database.writing() as unit:
            self.rides(on)
            made = list(await unit.session.scalars(upserted(self.model, rows, on).returning(self._model), execution_options=ANEW))
            unit.note("changed", made)
            return made

    def rides(self, *indexes: Keeper) -> None:
        """Say which indexes a query of your own rides, right before it is sent: it isn't, if one of them is withdrawn.

        Args:
            indexes: those of any model: `Book.by_author`.

        Raises:
            IndexNotReady: the database doesn't have one of them.
        """
        self.database.catalogue.need(*indexes)

    async def _read(self, ready: Callable[[], None], work: Callable[[AsyncSession], Awaitable[T]]) -> T:
        """A read, once its paths are known to be ready: asked when the connection is there, which may have taken a while."""

        async def asked(session: AsyncSession) -> T:
            ready()
            return await work(session)

        return await self.database.read(asked)

    def _ready(self, choice: Choice, include: Sequence[QueryableAttribute[Any]]) -> None:
        self._along_path(choice)
        self.rides(*(table_of(relation.property.mapper.class_).primary_key for relation in include))

    async def _rows(
        self, work: Reading, choice: Choice, include: Sequence[QueryableAttribute[Any]], search_most: int | None
    ) -> Sequence[Any]:
        """The rows of a statement; all that a search has found, or none of them."""
        try:
            found = await self._read(partial(self._ready, choice, include), work)
        except TimedOut as error:
            if search_most is None:
                raise
            raise TooManyMatches(TOO_SLOW) from error
        if search_most is not None and found and found[0][-1] > search_most:
            raise TooManyMatches(TOO_MANY.format(most=search_most), most=search_most)
        return found

    def _along_path(self, choice: Choice) -> None:
        """Refuse what was chosen before its path was withdrawn: a connection may have been waited for meanwhile."""
        self.database.catalogue.check(self.surface.contract.table, choice.path.name)

    @property
    def _key(self) -> PrimaryKeyConstraint:
        return table_of(self.model).primary_key

    @property
    def _primary(self) -> Any:
        return getattr(self.model, self.surface.primary)

    @property
    def _model(self) -> type[M]:
        return cast("type[M]", self.model)

    def _found(self, row: T | None, key: Any) -> T:
        if row is None:
            raise NotFound(f"There is no {key!r} in {table_of(self.model).name}. It may have been deleted.")
        return row

    def _forward(self, path: Index, equals: Mapping[str, Any]) -> tuple[Sort, ...]:
        """The order in which an index gives what is left of its keys."""
        keys = next((found.keys for found in self.surface.contract.paths if found.name == path.name), ())
        return tuple(Sort(key.name, key.descending) for key in keys if key.name not in equals)

    def _along(self, path: Index, question: Question) -> Choice:
        contract = self.surface.contract
        paths = tuple(found for found in contract.paths if found.name == path.name)
        searches = tuple(found for found in contract.searches if found.name == path.name)
        choice = choose(replace(contract, paths=paths, searches=searches), question)
        if choice is None:
            raise ValueError(f"{path.name} doesn't serve {question}")
        self._along_path(choice)
        return choice

    async def _first_refused(self, unit: Unit, rows: Sequence[Mapping[str, Any]]) -> Problem | None:
        """The first row of a batch that the database refuses, found by inserting one after the other."""
        for number, values in enumerate(rows):
            try:
                await self._inserted(unit, values)
            except DBAPIError as error:
                found = problem(error)
                if found:
                    found.extra = {**found.extra, "row": number}
                return found
        return None

    async def _inserted(self, unit: Unit, values: Mapping[str, Any]) -> M:
        row = await unit.session.scalar(insert(self._model).values(**values).returning(self._model), execution_options=TOLD)
        return cast("M", row)
