"""A model's surface: what can be asked of it, read off its `Index` objects, and what each name means in SQL.

Nothing here is declared a second time: keys, directions, NULLs, predicates and INCLUDE columns come from the indexes that the
migration is made of. What can't be read as a question (an opaque expression, another operator class) serves none.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from sqlalchemy import Column, ColumnElement, Dialect, String, Table, UniqueConstraint, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.orm import MappedColumn, Mapper
from sqlalchemy.sql import operators
from sqlalchemy.sql.elements import BinaryExpression, BindParameter, BooleanClauseList, False_, Label, Null, True_, UnaryExpression
from sqlalchemy.types import TypeEngine

from service.contract.path import Contract, Key, Path, Term
from service.contract.question import FOLDED, Sort
from service.contract.search import SearchPath
from service.db.model import Model, folded, table_of
from service.db.wire import wire
from service.errors import SetupError

Expression = ColumnElement[Any]
MISSING = object()
SEARCHES = {"gin_trgm_ops": ("icontains", True), "jsonb_path_ops": ("has", False)}
"""Operator class of a GIN index -> how clients ask, and whether what it keeps is folded."""
DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Surface:
    """What of a model can be asked.

    Attributes:
        contract: its paths.
        expressions: name -> what it means in SQL, for every column and named expression.
        predicates: path name -> the WHERE of a partial index.
    """

    model: type[Model]
    contract: Contract
    expressions: Mapping[str, Expression]
    predicates: Mapping[str, Expression]

    @property
    def primary(self) -> str:
        """The name of the primary key; Shelfmark serves tables that have one of a single column."""
        return self.contract.primary[0]

    def type_of(self, name: str) -> TypeEngine[Any]:
        """The column type behind a name."""
        return self.expressions[name].type

    def dumped(self, name: str, value: Any) -> Any:
        """A value of a name as JSON takes it, to be loaded again: in a cursor, or a checkpoint."""
        form = wire(self.type_of(name))
        return value if value is None or form is None else form.dump(value)

    def loaded(self, name: str, value: Any) -> Any:
        """A value that `dumped` made.

        Raises:
            ValueError: it isn't of the column's type: that was another one then.
        """
        form = wire(self.type_of(name))
        return value if form is None else form.load(value)

    def of(self, visible: frozenset[str]) -> "Surface":
        """The part of the surface that can be asked without naming a hidden column.

        Raises:
            SetupError: rows come in the order of one by default, so that messages and cursors would tell it.
        """
        seen = {name for name in self.expressions if name.removesuffix(FOLDED) in visible}
        hidden = [sort.name for sort in self.contract.default_order if sort.name not in seen]
        if hidden:
            raise SetupError(
                f"{self.model.__name__}.default_order names {', '.join(hidden)}, which clients don't see: a refusal would name it, "
                "and a cursor hold its values. Show it in the read shape, or choose another order."
            )
        paths = tuple(path for path in self.contract.paths if seen.issuperset(path.names | {term.name for term in path.predicate}))
        searches = tuple(path for path in self.contract.searches if path.key in seen)
        expressions = {name: self.expressions[name] for name in self.expressions if name in seen}
        return replace(self, contract=replace(self.contract, paths=paths, searches=searches), expressions=expressions)


@cache
def surface(model: type[Model]) -> Surface:
    """The surface of a model.

    Raises:
        SetupError: it has no primary key of one column, or its default order can't be understood.
    """
    mapper: Mapper[Any] = inspect(model)
    table = table_of(model)
    primary = tuple(mapper.get_property_by_column(column).key for column in table.primary_key)
    if len(primary) != 1:
        raise SetupError(f"{model.__name__} has {len(primary)} primary key columns; a table that is served needs exactly one.")
    expressions = dict(_expressions(mapper, table))
    names = {_text(expression): name for name, expression in expressions.items()}
    nullable = frozenset(name for name in expressions if table.c[_column(mapper, name)].nullable)
    found = [found for index in _indexes(table) if (found := _path(index, names, nullable, expressions))]
    predicates = {path.name: where for path, where in found if where is not None}
    order = tuple(_sort(model, element, names, nullable) for element in model.default_order)
    searches = tuple(search for index in _indexes(table) if (search := _search(index, names)))
    contract = Contract(table.name, primary, tuple(path for path, _ in found), order, nullable, searches, model.called)
    return Surface(model, contract, expressions, predicates)


def _column(mapper: Mapper[Any], name: str) -> str:
    return str(mapper.attrs[name.removesuffix(FOLDED)].columns[0].name)


def _expressions(mapper: Mapper[Any], table: Table) -> Iterator[tuple[str, Expression]]:
    for column in table.columns:
        name = mapper.get_property_by_column(column).key
        yield name, column
        if isinstance(column.type, String):
            yield name + FOLDED, folded(column)


def _text(expression: Expression) -> str:
    """An expression as PostgreSQL would read it: what two equal ones have in common."""
    return str(expression.compile(dialect=DIALECT, compile_kwargs={"literal_binds": True}))


@dataclass(frozen=True)
class _Declared:
    """An index or unique constraint, as declared."""

    name: str
    elements: tuple[Expression, ...]
    unique: bool
    options: Mapping[str, Any]


def _indexes(table: Table) -> Iterator[_Declared]:
    yield _Declared(str(table.primary_key.name), tuple(table.primary_key.columns), unique=True, options={})
    for constraint in table.constraints:
        if isinstance(constraint, UniqueConstraint):
            options = constraint.dialect_options["postgresql"]
            yield _Declared(str(constraint.name), tuple(constraint.columns), unique=True, options=options)
    for index in table.indexes:
        elements = tuple(element for element in index.expressions if isinstance(element, ColumnElement))
        yield _Declared(str(index.name), elements, bool(index.unique), index.dialect_options["postgresql"])


def _path(
    index: _Declared, names: Mapping[str, str], nullable: frozenset[str], expressions: Mapping[str, Expression]
) -> tuple[Path, Expression | None] | None:
    options = index.options
    where = options.get("where")
    where = where.column if isinstance(where, MappedColumn) else where
    terms = () if where is None else tuple(_terms(where, names))
    keys = tuple(_key(element, names, nullable, expressions) for element in index.elements)
    if options.get("using") not in {None, "", False, "btree"} or options.get("ops") or None in keys or None in terms:
        return None
    return Path(
        index.name,
        tuple(key for key in keys if key),
        index.unique,
        frozenset(_included(column, names) for column in options.get("include") or ()),
        tuple(term for term in terms if term),
        bool(options.get("nulls_not_distinct")),
    ), where


def _search(index: _Declared, names: Mapping[str, str]) -> SearchPath | None:
    """The search that a GIN index serves: one key, whole, of a class that keeps what is looked for."""
    classes = [SEARCHES.get(of) for of in (index.options.get("ops") or {}).values()]
    if (
        index.options.get("using") != "gin"
        or index.options.get("where") is not None
        or len(index.elements) != 1
        or not any(classes)
    ):
        return None
    operator, wanted = next(found for found in classes if found)
    key = names.get(_text(_unwrapped(index.elements[0])[0]))
    return SearchPath(index.name, operator, key) if key and key.endswith(FOLDED) == wanted else None


def _included(column: Any, names: Mapping[str, str]) -> str:
    """The name of a column that INCLUDE names, or holds."""
    bare = _unwrapped(column)[0] if not isinstance(column, str) else None
    text = column if bare is None else str(getattr(bare, "name", bare))
    return next((name for spelled, name in names.items() if spelled.rpartition(".")[2].strip('"') == text), text)


def _key(
    element: Expression, names: Mapping[str, str], nullable: frozenset[str], expressions: Mapping[str, Expression]
) -> Key | None:
    bare, descending, nulls_first = _unwrapped(element)
    name = names.get(_text(bare))
    if name is None:
        return None
    return Key(name, descending, nulls_first, name in nullable, isinstance(expressions[name].type, String))


def _unwrapped(element: Any) -> tuple[Expression, bool, bool]:
    """What is ordered, whether it descends, and whether NULLs come first."""
    descending, nulls_first = False, None
    while isinstance(element, UnaryExpression | Label | MappedColumn):
        if isinstance(element, UnaryExpression):
            if element.modifier is None:
                break
            descending = element.modifier is operators.desc_op or descending
            nulls_first = {operators.nulls_first_op: True, operators.nulls_last_op: False}.get(element.modifier, nulls_first)
        element = element.column if isinstance(element, MappedColumn) else element.element
    return element, descending, descending if nulls_first is None else nulls_first


def _terms(where: Expression, names: Mapping[str, str]) -> Iterator[Term | None]:
    """The terms of a predicate; None for one that no request can be seen to imply."""
    if isinstance(where, BooleanClauseList) and where.operator is operators.and_:
        for clause in where.clauses:
            yield from _terms(clause, names)
    elif isinstance(where, BinaryExpression):
        yield _compared(where, names)
    elif isinstance(where, Column):
        yield Term(names[_text(where)], value=True)
    elif isinstance(where, UnaryExpression) and where.operator is operators.inv and isinstance(where.element, Column):
        yield Term(names[_text(where.element)], value=False)
    else:
        yield None


def _compared(where: BinaryExpression[Any], names: Mapping[str, str]) -> Term | None:
    name = names.get(_text(where.left))
    value = _literal(where.right)
    if name is None or value is MISSING or not isinstance(value, Hashable):  # no URL can spell a JSON value
        return None
    if where.operator in {operators.eq, operators.is_}:
        return Term(name, value)
    return Term(name, value, negated=True) if where.operator is operators.is_not and value is None else None


def _literal(element: Any) -> Any:
    for kind, value in ((Null, None), (True_, True), (False_, False)):
        if isinstance(element, kind):
            return value
    return element.value if isinstance(element, BindParameter) else MISSING


def _sort(model: type[Model], element: Any, names: Mapping[str, str], nullable: frozenset[str]) -> Sort:
    bare, descending, nulls_first = _unwrapped(element)
    name = names.get(_text(bare))
    if name is None:
        raise SetupError(f"{model.__name__}.default_order names something that is no column and no folded(column).")
    explicit = isinstance(element, UnaryExpression) and element.modifier in {operators.nulls_first_op, operators.nulls_last_op}
    if name in nullable and explicit and nulls_first == descending:
        raise SetupError(
            f"{model.__name__}.default_order puts the NULLs of {name} elsewhere than sort={name} does: NULL counts as smaller "
            "than any value, so ascending keys take nulls_first() and descending ones nulls_last()."
        )
    return Sort(name, descending)


def idle(model: type[Model]) -> list[str]:
    """What to say about B-tree indexes that serve nothing: no list, no lookup, no foreign key.

    Returns:
        A sentence for each, with the line that would make it serve a list.
    """
    of, table = surface(model), table_of(model)
    referring = {
        mapped.get_property_by_column(column).key for mapped in [inspect(model)] for column in table.c if column.foreign_keys
    }
    return [
        f"{path.name} of {table.name} is no total order, so it serves no list. End its keys in the primary key: "
        f"{', '.join((*(key.name for key in path.keys), *of.contract.primary))}"
        for path in of.contract.paths
        if not path.unique and not of.contract.total(path) and (path.keys[0].name not in referring or path.predicate)
    ]


def referring(model: type[Model]) -> Mapping[Column[Any], tuple[str, ...]]:
    """Foreign keys that reference a model's table: the first column of each, and the names of the whole indexes that it leads."""
    target = table_of(model)
    keys = (key for table in target.metadata.tables.values() for key in table.foreign_key_constraints)
    columns = sorted((key.columns[0] for key in keys if key.referred_table is target), key=str)
    return {column: tuple(index.name for index in _indexes(column.table) if _leads(index, column)) for column in columns}


def references(model: type[Model]) -> Mapping[str, tuple[str, ...]]:
    """A model's own foreign keys: the name of the first column of each, and the whole indexes that it leads."""
    mapper: Mapper[Any] = inspect(model)
    table = table_of(model)
    columns = sorted((key.columns[0] for key in table.foreign_key_constraints), key=str)
    leading = {column: tuple(index.name for index in _indexes(table) if _leads(index, column)) for column in columns}
    return {mapper.get_property_by_column(column).key: names for column, names in leading.items()}


def unled(model: type[Model]) -> list[Column[Any]]:
    """Foreign keys that reference a model's table and lead no whole index: each delete would scan their tables.

    Returns:
        The first column of each; empty where rows can be deleted without a scan.
    """
    return [column for column, leading in referring(model).items() if not leading]


def undeletable(model: type[Model]) -> list[str]:
    """Why a table has no DELETE route.

    Returns:
        A sentence for each foreign key that stands in the way, with the line that would put it out of it.
    """
    name = table_of(model).name
    return [
        f"{column} refers to {name} and leads no whole index: each delete would scan {column.table.name}, so {name} has no DELETE "
        f"route. Give {column.table.name} this index: {_leading(column)}"
        for column in unled(model)
    ]


def _leading(column: Column[Any]) -> str:
    """The line of a model that would have a column lead an index."""
    keys = ", ".join((column.name, *(key.name for key in column.table.primary_key)))
    return f'Index("ix_{column.table.name}_{column.name}", {keys})'


def _leads(index: _Declared, column: Column[Any]) -> bool:
    plain = index.options.get("where") is None and index.options.get("using") in {None, "", False, "btree"}
    return plain and bool(index.elements) and _unwrapped(index.elements[0])[0] is column
