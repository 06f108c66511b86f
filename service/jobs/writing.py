"""The statements by which staged rows become rows of the table: what differs is changed, what is new is added, with its names."""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    and_,
    exists,
    insert,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore

from service.jobs.shaping import Reference
from service.jobs.staging import Staging


class Writes:
    """The statements of one import; each writes the rows of a window, which is a condition over the staged rows."""

    def __init__(self, staging: Staging) -> None:
        self._staging = staging

    def missing_names(self, reference: Reference, window: ColumnElement[bool]) -> Any:
        """Names that the other table lacks; sorted, so that two imports don't wait for each other in a circle."""
        name = self._staging.rows.c[f"import_{reference.field}"]
        folded, column = reference.match(name), reference.table.columns[reference.name.key]
        known = exists().where(reference.match(column) == folded)
        missing = (
            select(name).ext(distinct_on(folded)).where(window, name.is_not(None), not_(known)).order_by(folded, self._staging.line)
        )
        return insert_or_ignore(reference.table).from_select([column.name], missing).on_conflict_do_nothing()

    def rows(self, window: ColumnElement[bool]) -> Select[Any]:
        """Staged rows as they shall stand in the table."""
        staging, declared = self._staging, self._staging.declared
        joined: Any = staging.rows
        values = {
            name: literal(value) if isinstance(value, str) else value for name, value in staging.identity(staging.key).items()
        }
        for reference in declared.references:
            other = reference.table.alias(f"other_{reference.field}")
            same = reference.match(other.c[reference.name.key]) == reference.match(staging.rows.c[f"import_{reference.field}"])
            joined = joined.outerjoin(other, same)
            values[reference.column.key] = other.c[reference.id.name]
        values |= {column.name: staging.rows.c[column.name] for column in declared.columns if column.name in self._staging.written}
        if declared.extras is not None:
            values[declared.extras.key] = staging.rows.c.import_extras
        return select(*(value.label(name) for name, value in values.items()), staging.line).select_from(joined).where(window)

    def update(self, window: ColumnElement[bool]) -> Any:
        """Change the rows that differ, each looked up by its key: statistics that don't know the source can't turn that around."""
        table, rows = self._staging.declared.table, self.rows(window).subquery("rows")
        there, primary = table.alias("there"), table.primary_key.columns.keys()
        keys = (there.c[name].label(f"import_{name}") for name in primary)
        found = select(*keys).where(self.differs(there, rows)).limit(1).lateral("found")
        changed = select(rows, *found.c).select_from(rows.join(found, true())).subquery("changed")
        same = (table.c[name] == changed.c[f"import_{name}"] for name in primary)
        return update(table).where(*same).values(self._new(table, changed))

    def _new(self, table: FromClause, rows: Subquery) -> dict[str, ColumnElement[Any]]:
        """The columns that a merge may change, as the staged rows have them."""
        identity = self._staging.declared.identity
        return {name: column for name, column in rows.c.items() if name not in identity and name in table.columns}

    def differs(self, table: FromClause, rows: Subquery) -> ColumnElement[bool]:
        """Whether a row of the table is the one that a staged row means, and not just so."""
        differs = or_(*(table.c[name].is_distinct_from(column) for name, column in self._new(table, rows).items()))
        return and_(*(table.c[name] == rows.c[name] for name in self._staging.declared.identity), differs)

    def insert(self, window: ColumnElement[bool]) -> Any:
        """Add the rows whose keys are new, in the order of their lines."""
        table, staging = self._staging.declared.table, self._staging
        rows = self.rows(window).where(not_(exists().where(staging.means(staging.key, table)))).order_by(staging.line)
        named = rows.subquery("rows")
        names = [column.name for column in named.columns if column.name in table.columns]
        return insert(table).from_select(names, select(*(named.c[name] for name in names)).order_by(named.c.import_line))
