"""A choice becomes SQL: one SELECT for each range that a page may begin in, each along the index, put together under one LIMIT.

What selects an index is written as a literal (a partial index's predicate, the limit): under a generic plan PostgreSQL would not
recognise it in a parameter. Every other value is bound.

The first key of a list's index is pinned by `= ANY (ARRAY[value])`. After a plain `=` PostgreSQL leaves that key out of ORDER BY,
and then an index that lacks it gives the order as well: it may walk the primary key and filter, which for a rare value is the
whole table.

A bound value's name says where it comes from, so that a statement may be compiled once for all questions of its shape: `values`
gives those of another question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ARRAY,
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Float,
    Index,
    Integer,
    Numeric,
    Select,
    Text,
    and_,
    any_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, array, insert
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeEngine

from service.contract.choose import Choice
from service.contract.keyset import After, Branch, Condition, Equal, Null, after
from service.contract.path import Key
from service.contract.question import FOLDED, Question, Range
from service.db.model import Model, folded
from service.db.searching import SEARCH_MOST, holds, searched
from service.db.surface import Surface

Rows = Select[Any] | CompoundSelect[Any]
EQUAL, AMONG, LOWER, UPPER, PREFIX, LAST = "", "__in", "__lower", "__upper", "__prefix", "__last"
"""What a bound value is to a question: the end of its name."""
LAST_BEFORE_SURROGATES, FIRST_AFTER_SURROGATES = 0xD7FF, 0xE000


@dataclass(frozen=True, slots=True)
class Asked:
    """A question put to a surface, and the choice that serves it."""

    of: Surface
    question: Question
    choice: Choice

    def page(
        self, columns: Sequence[str], limit: int, last: Mapping[str, Any] | None = None, search_most: int = SEARCH_MOST
    ) -> Rows:
        """The rows of one page, in order.

        Args:
            columns: names to select; each comes under its own name.
            limit: rows at the most.
            last: name -> value of the row that the page follows; None for the first page.
            search_most: rows that a search may find; see `searched`.
        """
        if self.choice.kind == "search":
            primary = self.of.primary
            after_key = None if last is None else _bound(self.of, primary, last[primary], LAST)
            return searched(self.of, self.question.searches[0], columns, limit=limit, after=after_key, most=search_most)
        if self.choice.kind == "many":
            return self._many(columns)
        wanted = [self.of.expressions[name].label(name) for name in columns]
        branches: list[Branch] = [()] if last is None else after(self.choice.walked, last)
        selects = [self._branch(wanted, branch).limit(_literal(limit)) for branch in branches]
        if not selects:
            return select(*wanted).where(literal(value=False))
        return selects[0] if len(selects) == 1 else union_all(*selects).limit(_literal(limit))

    def capped(self, most: int) -> Select[Any]:
        """How many rows the question has, up to one more than `most`.

        Those of a list are counted along its index, in the order of the index: without an order PostgreSQL may collect all that
        matches before it counts, or walk another index and throw rows away.
        """
        order = [_ordered(self.of, key) for key in self.choice.path.keys] if self.choice.kind == "list" else []
        some = self.everything().order_by(*order).limit(_literal(most + 1)).subquery()
        return select(func.count()).select_from(some)

    def everything(self) -> Select[Any]:
        """The primary keys of all rows that the question has, in no order."""
        return select(self.of.expressions[self.of.primary]).where(*self._conditions())

    def _many(self, columns: Sequence[str]) -> Select[Any]:
        """Rows by primary key, sorted behind a fence: PostgreSQL would rather walk the primary key and filter than sort."""
        names = dict.fromkeys((*columns, self.of.primary))
        fenced = select(*(self.of.expressions[name].label(name) for name in names)).where(*self._conditions()).offset(_number(0))
        found = fenced.subquery()
        return select(*(found.c[name] for name in columns)).order_by(found.c[self.of.primary])

    def _branch(self, wanted: Sequence[Any], branch: Branch) -> Select[Any]:
        conditions = [*self._conditions(branch), *(self._condition(condition) for condition in branch)]
        order = [] if self.choice.kind == "one" else [_ordered(self.of, key) for key in self.choice.keys]
        return select(*wanted).where(*conditions).order_by(*order)

    def _conditions(self, branch: Branch = ()) -> list[ColumnElement[bool]]:
        """What the question itself asks, without the end of its range that a later page is past.

        PostgreSQL enters an index at one bound: given both, it begins at the range's end and reads again all that came before.
        """
        question, of = self.question, self.of
        where = of.predicates.get(self.choice.path.name)
        return [
            *([] if where is None else [visitors.replacement_traverse(where, {}, _in_literals)]),
            *(self._equal(name, value) for name, value in question.equals.items() if name not in self.choice.path.fixed),
            *(condition for found in question.ranges for condition in _range(of, _ahead(found, branch))),
            *(_among(of, name, values) for name, values in question.among.items()),
            *(holds(of, sought) for sought in question.searches),
        ]

    def _equal(self, name: str, value: Any) -> ColumnElement[bool]:
        if value is None:
            return self.of.expressions[name].is_(None)
        bound = _bound(self.of, name, value, EQUAL)
        return self._pinned(name, folded(bound) if name.endswith(FOLDED) else bound)

    def _condition(self, condition: Condition) -> ColumnElement[bool]:
        of = self.of
        if isinstance(condition, Null):
            expression = of.expressions[condition.name]
            return expression.is_not(None) if condition.negated else expression.is_(None)
        bound = [_bound(of, name, value, LAST) for name, value in zip(condition.names, condition.values, strict=True)]
        if isinstance(condition, Equal):
            return and_(*map(self._pinned, condition.names, bound))
        left = tuple_(*(of.expressions[name] for name in condition.names))
        return left < tuple_(*bound) if condition.descending else left > tuple_(*bound)

    def _pinned(self, name: str, value: ColumnElement[Any]) -> ColumnElement[bool]:
        expression = self.of.expressions[name]
        first = self.choice.kind == "list" and name == self.choice.keys[0].name
        return expression == any_(array([value])) if first else expression == value


def _among(of: Surface, name: str, values: Sequence[Any]) -> ColumnElement[bool]:
    return of.expressions[name] == func.any(bindparam(name + AMONG, list(values), type_=ARRAY(_compared(of.type_of(name)))))


def values(question: Question, last: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a question's statement binds: the name of each bound value -> the value; those that it leaves out, too.

    Args:
        question: of the same shape as the one that the statement was made for.
        last: the row that the page follows.
    """
    found = dict(question.equals)
    for name, among in question.among.items():
        found[name + AMONG] = list(among)
    for asked in question.ranges:
        if asked.lower:
            found[asked.name + LOWER] = asked.lower.value
        if asked.upper:
            found[asked.name + UPPER] = asked.upper.value
        if asked.prefix is not None:
            found[asked.name + PREFIX] = asked.prefix
    if last:
        found.update((name + LAST, value) for name, value in last.items())
    return found


def upserted(model: type[Model], rows: Sequence[Mapping[str, Any]], on: Index) -> Insert:
    """Rows inserted, or changed where they hold the same keys of a unique index; the keys themselves stay as they are spelled."""
    statement = insert(model).values([dict(row) for row in rows])
    keys = {column.name for column in on.columns}
    names = [name for name in rows[0] if name not in keys] or list(rows[0])
    changed = {name: statement.excluded[name] for name in names}
    where = on.dialect_options["postgresql"].get("where")
    return statement.on_conflict_do_update(index_elements=list(on.expressions), index_where=where, set_=changed)


@dataclass(frozen=True, slots=True)
class _Ends:
    """A range, and which of its ends a page has to mind."""

    asked: Range
    lower: bool
    upper: bool


def _ahead(asked: Range, branch: Branch) -> _Ends:
    """The ends of a range that a branch may reach; the row that the page follows was inside."""
    first = branch[0] if branch else None
    if isinstance(first, Equal):
        return _Ends(asked, lower=False, upper=False)
    return _Ends(asked, *((first.descending, not first.descending) if isinstance(first, After) else (True, True)))


def _range(of: Surface, ends: _Ends) -> list[ColumnElement[bool]]:
    asked = ends.asked
    expression = of.expressions[asked.name]
    if asked.prefix is not None:
        begin: Any = _bound(of, asked.name, asked.prefix, PREFIX)
        begin = folded(begin) if asked.name.endswith(FOLDED) else begin
        return [*([expression >= begin] if ends.lower else []), *([expression < _past(begin)] if ends.upper else [])]
    conditions = []
    if asked.lower and ends.lower:
        value = _bound(of, asked.name, asked.lower.value, LOWER)
        conditions.append(expression >= value if asked.lower.inclusive else expression > value)
    if asked.upper and ends.upper:
        value = _bound(of, asked.name, asked.upper.value, UPPER)
        conditions.append(expression <= value if asked.upper.inclusive else expression < value)
    return conditions


def _past(prefix: ColumnElement[str]) -> ColumnElement[str]:
    """The least text after all that begin with a prefix: its last character's successor, in the order of code points."""
    last = func.ascii(func.right(prefix, _number(1)))
    following = case((last == _number(LAST_BEFORE_SURROGATES), _number(FIRST_AFTER_SURROGATES)), else_=last + _number(1))
    return func.left(prefix, _number(-1)).concat(func.chr(following))


def _ordered(of: Surface, key: Key) -> ColumnElement[Any]:
    """A key as the index spells it; PostgreSQL sorts when NULLS differs, even on a column that has none."""
    expression = of.expressions[key.name]
    directed = expression.desc() if key.descending else expression.asc()
    return directed.nulls_first() if key.nulls_first else directed.nulls_last()


def _bound(of: Surface, name: str, value: Any, part: str) -> BindParameter[Any]:
    return bindparam(name + part, value, type_=_compared(of.type_of(name)))


def _compared(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    """The type that a value is bound as which is only compared: a column's own would cut it, or round it, to fit the column."""
    if isinstance(kind, Text):
        return Text()
    if isinstance(kind, Numeric) and not isinstance(kind, Float):
        return Numeric(asdecimal=True) if kind.asdecimal else Numeric(asdecimal=False)
    return kind


def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value), Integer())


def _literal(limit: int) -> BindParameter[int]:
    return bindparam(None, limit, type_=Integer(), literal_execute=True)


def _in_literals(element: Any, **_: Any) -> Any:
    return element.render_literal_execute() if isinstance(element, BindParameter) else None
