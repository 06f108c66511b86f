"""One compiled statement for each shape of a question: PostgreSQL writes the JSON, and the driver gets text and values.

Nothing is written by hand for a table: both forms are made around the `select()` that `statements.py` makes of a choice. A page
comes as one row: its rows as one text, how many were found, and the keys of the last one that is shown. Rows by key come each with
its key, for any number of keys at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ARRAY, Dialect, Float, Integer, Select, Text, bindparam, func, literal_column, select
from sqlalchemy.sql.dml import UpdateBase

from service.db.rendering import cell, row
from service.db.statements import AMONG, Asked
from service.db.surface import Surface
from service.db.version import VERSION, columns_of

OID_OF_FLOAT8, OID_OF_NUMERIC = 701, 1700
Process = Callable[[Any], Any]
SEPARATOR = literal_column("','", Text())
FIRST = literal_column("1", Integer())


@dataclass(frozen=True, slots=True)
class Compiled:
    """A statement as the driver takes it.

    Attributes:
        sql: with `$1` for the first value.
        takes: the names of its values, in their order, each with what makes the driver's value of it.
        gives: what makes of each column the value that SQLAlchemy would give; None where that is the driver's own.
    """

    sql: str
    takes: tuple[tuple[str, Process | None], ...]
    gives: tuple[Process | None, ...]

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """The driver's values.

        Args:
            values: as `statements.values` names them.
        """
        return [process(values[name]) if process else values[name] for name, process in self.takes]

    def result(self, record: Sequence[Any]) -> list[Any]:
        """A row as SQLAlchemy would give it."""
        return [process(value) if process else value for process, value in zip(self.gives, record, strict=True)]


def compiled(statement: Select[Any] | UpdateBase, dialect: Dialect) -> Compiled:
    """A statement that gives rows, compiled for the driver."""
    made = statement.compile(dialect=dialect, compile_kwargs={"render_postcompile": True})
    names: Sequence[str] = getattr(made, "positiontup", None) or ()
    takes = tuple((name, _taken(made.binds[name].type, dialect)) for name in names)
    columns = statement.selected_columns if isinstance(statement, Select) else statement.exported_columns
    return Compiled(str(made), takes, tuple(_given(column.type, dialect) for column in columns))


def page_as_json(asked: Asked, columns: Sequence[str], limit: int, last: Mapping[str, Any] | None = None) -> Select[Any] | None:
    """One page as one row: the rows as JSON objects with commas between, how many there are, and where the next page begins.

    Args:
        asked: a list, or a lookup.
        columns: the names that are shown, in their order.
        limit: rows that are shown at the most; one more is looked for. A lookup of several values isn't cut.
        last: the row that the page follows.

    Returns:
        `data`, `found`, and for each name of the completed order the value of row number `limit`; None where a column has no
        renderer.
    """
    order = [sort.name for sort in asked.choice.order]
    cut = asked.choice.kind == "list"
    rows = asked.page(list(dict.fromkeys((*columns, *(order if cut else ())))), limit + 1, last).subquery("page")
    written = row({name: rows.c[name] for name in columns}, asked.of.contract.nullable)
    if written is None:
        return None
    every, most = func.array_agg(written, type_=ARRAY(Text())), literal_column(str(limit), Integer())
    shown = every[FIRST:most] if cut else every
    keys = [func.array_agg(rows.c[name])[most].label(name) for name in order] if cut else []
    return select(func.array_to_string(shown, SEPARATOR).label("data"), func.count().label("found"), *keys)


def page_as_rows(
    asked: Asked, columns: Sequence[str], limit: int, last: Mapping[str, Any] | None = None, *, cells: bool = False
) -> Select[Any] | None:
    """One page row by row: each as a JSON object, or as a text for each column; after that a list's rows have their keys.

    Args:
        asked: a list, or a lookup.
        columns: the names that are shown, in their order.
        limit: rows at the most. A lookup of several values isn't cut.
        last: the row that the page follows.
        cells: a text for each column is wanted.

    Returns:
        What is written of each row; then, where it is a list, its values of the completed order. None where a column has no
        renderer.
    """
    order = [sort.name for sort in asked.choice.order] if asked.choice.kind == "list" else []
    rows = asked.page(list(dict.fromkeys((*columns, *order))), limit, last).subquery("page")
    shown = {name: rows.c[name] for name in columns}
    written = [cell(value) for value in shown.values()] if cells else [row(shown, asked.of.contract.nullable)]
    told = [value for value in written if value is not None]
    if len(told) < len(written):
        return None
    wanted: list[Any] = [*told, *(rows.c[name] for name in order)]
    return select(*wanted)


def rows_as_json(of: Surface, columns: Sequence[str]) -> Select[*tuple[Any, ...]] | None:
    """Rows by their primary keys, `values` of which are bound as those of `__in`: `key`, `data` and `VERSION`, in no order.

    Returns:
        None where a column has no renderer.
    """
    written = row({name: of.expressions[name] for name in columns}, of.contract.nullable)
    if written is None:
        return None
    primary = of.expressions[of.primary]
    keys = bindparam(of.primary + AMONG, type_=ARRAY(primary.type))
    version = (column.label(name) for column, name in zip(columns_of(of.model), VERSION, strict=True))
    return select(primary.label("key"), written.label("data"), *version).where(primary == func.any(keys))


def _taken(kind: Any, dialect: Dialect) -> Process | None:
    process: Process | None = kind.dialect_impl(dialect).bind_processor(dialect)
    return process


def _given(kind: Any, dialect: Dialect) -> Process | None:
    number = OID_OF_FLOAT8 if isinstance(kind, Float) else OID_OF_NUMERIC  # the dialect asks what the driver was told of numbers
    process: Process | None = kind.dialect_impl(dialect).result_processor(dialect, number)
    return process
