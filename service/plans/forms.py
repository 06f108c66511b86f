"""What the read path sends for a question: every form, in one list, each with what its plan promises and what it may touch.

A form that reads in another way (rows as JSON, several questions in one statement) is proven as soon as it stands in `FORMS`: it
gives its SQL with the values, says what would be wrong about a plan, and how many buffers are enough.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sqlalchemy import ClauseElement, Dialect, select

from service.contract.keyset import after
from service.db.reading import compiled, page_as_json, page_as_rows, rows_as_json
from service.db.rendering import rendered
from service.db.searching import SEARCH_MOST
from service.db.statements import AMONG, Asked
from service.db.surface import Surface
from service.plans import budget
from service.plans.check import broken
from service.plans.explain import EXPLAIN, Node
from service.plans.questions import Last

PAGE = 51
"""Rows of a page, and the one that tells whether another follows."""
COUNTED = 10_000


@dataclass(frozen=True)
class Sent:
    """A statement as the driver gets it.

    Attributes:
        sql: with `$1` for the first value.
    """

    sql: str
    values: tuple[Any, ...] = ()


class Form(Protocol):
    """One form in which questions reach PostgreSQL."""

    @property
    def name(self) -> str:
        """What people call it: `page`, `count=capped`."""

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """The statement of a question; None where it has none in this form."""

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """What is wrong with its plan, as sentences.

        Args:
            plan: the whole of it.
            asked: the question, and the path that was promised.
            twins: other indexes that are defined as that path is.
        """

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:
        """How many buffers are enough for it.

        Args:
            asked: the question.
            last: the row that the page follows.
            rows: what it answered.
            table_rows: rows of the table, as PostgreSQL knows them.
        """


def written(statement: ClauseElement, dialect: Dialect) -> Sent:
    """A statement in the words and with the values that the driver gets from SQLAlchemy."""
    compiled = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    return Sent(str(compiled), tuple(_value(compiled, name, dialect) for name in getattr(compiled, "positiontup", None) or ()))


def _value(compiled: Any, name: str, dialect: Dialect) -> Any:
    bound = compiled.binds[name if name in compiled.binds else name.rpartition("_")[0]]  # the values of IN are numbered
    process = bound.type.dialect_impl(dialect).bind_processor(dialect)
    return process(compiled.params[name]) if process else compiled.params[name]


@dataclass(frozen=True)
class Page:
    """One page, of whole rows."""

    limit: int = PAGE
    name: str = "page"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """Columns stand as `Repository.ask` names them: with the primary key, and with what a cursor is made of."""
        columns = self.columns(asked)
        order = [sort.name for sort in asked.choice.order]
        names = list(dict.fromkeys((*columns, asked.of.primary, *order)))
        return written(asked.page(names, self.limit, last), dialect) if columns else None

    def columns(self, asked: Asked) -> list[str]:
        """The columns that are asked for; none where there is no such page."""
        return list(asked.of.model.__mapper__.column_attrs.keys())

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """The path, entered with all that was asked; no sort, no filter."""
        return broken(plan, asked.question, asked.choice, twins)

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:
        """A descent for each place where the index is entered, and the rows."""
        if asked.choice.kind == "search":
            return budget.search(SEARCH_MOST, len(rows), table_rows)
        among = sum(map(len, asked.question.among.values()))
        ranges = len(after(asked.choice.walked, last)) if last is not None else 1
        return budget.page(len(rows), max(among, ranges))


@dataclass(frozen=True)
class Narrow(Page):
    """A page of what the index itself holds: the table isn't visited."""

    name: str = "fields="

    def columns(self, asked: Asked) -> list[str]:
        """What the index carries; none where PostgreSQL reads the table all the same: for expressions and for predicates."""
        path = asked.choice.path
        carried = {*path.names, *path.include}
        whole = asked.choice.kind == "list" and not path.predicate and asked.of.primary in carried
        return sorted(carried) if whole and carried <= set(super().columns(asked)) else []

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """As a page, and by the index alone."""
        visits = [node for node in plan.walk() if node.index and node.kind != "Index Only Scan"]
        return [*super().broken(plan, asked, twins), *(f"{node.called}: the index holds all that was asked for" for node in visits)]


@dataclass(frozen=True)
class AsJson(Page):
    """A page whose JSON PostgreSQL writes, as one row."""

    name: str = "page as JSON"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """With all columns that PostgreSQL can write."""
        made = None if asked.choice.kind == "search" else page_as_json(asked, writable(asked.of), self.limit - 1, last)
        return None if made is None else written(made, dialect)

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """One aggregate over what a page has."""
        if plan.kind != "Aggregate" or len(plan.below) != 1:
            return [f"a {plan.kind} where one aggregate was promised"]
        below = plan.below[0]
        return super().broken(below.below[0] if below.kind == "Subquery Scan" else below, asked, twins)

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:
        """As for a page of so many rows."""
        return super().most(asked, last, range(int(rows[0][1])), table_rows)


@dataclass(frozen=True)
class AsRows(Page):
    """A page of an export: a text for each column, and the keys that the next page follows."""

    name: str = "page of an export"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """With all columns that PostgreSQL can write."""
        made = None if asked.choice.kind == "search" else page_as_rows(asked, writable(asked.of), self.limit, last, cells=True)
        return None if made is None else written(made, dialect)

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """As a page, whose rows are written as they come."""
        return super().broken(plan.below[0] if plan.kind == "Subquery Scan" else plan, asked, twins)


def writable(of: Surface) -> list[str]:
    """The columns whose values PostgreSQL writes as JSON."""
    names = of.model.__mapper__.column_attrs.keys()
    return [name for name in names if rendered(of.expressions[name]) is not None]


@dataclass(frozen=True)
class Counted:
    """`count=capped`: how many rows a question has, up to a number."""

    cap: int = COUNTED
    name: str = "count=capped"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """A page after a cursor has the same count as the first."""
        return written(asked.capped(self.cap), dialect) if last is None else None

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """One aggregate over a walk along the path that ends at the cap."""
        if plan.kind != "Aggregate" or len(plan.below) != 1:
            return [f"{plan.called} where one aggregate was promised"]
        return broken(plan.below[0], asked.question, asked.choice, twins)

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:  # noqa: ARG002 - as all forms
        """The rows counted."""
        counted = int(rows[0][0])
        among = sum(map(len, asked.question.among.values()))
        return budget.search(self.cap, 0, table_rows) if asked.choice.kind == "search" else budget.page(counted, max(among, 1))


@dataclass(frozen=True)
class Estimated:
    """`count=estimated`: a plan that is asked for and never run."""

    name: str = "count=estimated"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:
        """EXPLAIN of everything."""
        if last is not None:
            return None
        sent = written(asked.everything(), dialect)
        return replace(sent, sql=f"{EXPLAIN} {sent.sql}")

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:  # noqa: ARG002 - as all forms
        """Any plan will do: it isn't run, which the buffers show."""
        return []

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:  # noqa: ARG002 - as all forms
        """What planning reads."""
        return budget.PLANNING


@dataclass(frozen=True)
class ByKey:
    """Rows by their primary key: one (`Repository.get`), several, or those that `include=` embeds."""

    name: str = "by key"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:  # noqa: ARG002 - as all forms
        """Whole rows, as the model's mapper selects them."""
        keys = self._keys(asked)
        if not keys:
            return None
        primary = asked.of.expressions[asked.of.primary]
        condition = primary == keys[0] if asked.choice.kind == "one" else primary.in_(keys)
        return written(select(asked.of.model).where(condition), dialect)

    def _keys(self, asked: Asked) -> list[Any]:
        """The primary keys that are asked for, where nothing else is."""
        question, primary = asked.question, asked.of.primary
        if asked.choice.kind == "one" and list(question.equals) == [primary]:
            return [question.equals[primary]]
        return list(question.among[primary]) if list(question.among) == [primary] and not question.equals else []

    def broken(self, plan: Node, asked: Asked, twins: Collection[str]) -> list[str]:
        """As a lookup of several values: as many rows as keys, and no limit needed."""
        return broken(plan, asked.question, replace(asked.choice, kind="many"), twins)

    def most(self, asked: Asked, last: Last | None, rows: Sequence[Any], table_rows: int) -> int:  # noqa: ARG002 - as all forms
        """A descent for each key."""
        return budget.page(len(rows), len(self._keys(asked)))


@dataclass(frozen=True)
class Together(ByKey):
    """Point reads that come at the same time: rows by any of their primary keys, as JSON."""

    name: str = "by key as JSON"

    def sent(self, asked: Asked, last: Last | None, dialect: Dialect) -> Sent | None:  # noqa: ARG002 - as all forms
        """One statement for one key and for many."""
        keys, made = self._keys(asked), rows_as_json(asked.of, writable(asked.of))
        if not keys or made is None:
            return None
        found = compiled(made, dialect)
        return Sent(found.sql, tuple(found.arguments({asked.of.primary + AMONG: keys})))


FORMS: tuple[Form, ...] = (Page(), Narrow(), AsJson(), AsRows(), Counted(), Estimated(), Together(), ByKey())
"""What the read path sends."""
