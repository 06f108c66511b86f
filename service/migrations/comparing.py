"""Autogenerate for indexes: what separates those of the database from the models', as PostgreSQL writes both.

Alembic compares the parts of an index as text, and some parts not at all. So what it finds about tables that exist on both sides is
set aside, and PostgreSQL is asked instead (`definitions.py`): it builds the model's indexes on an empty temporary copy, and what it
writes of them is held against what it writes of those that stand. Unique constraints and the collations of columns are compared in
the same way where Alembic sees no difference. An index that neither a model has nor a migration of ours made is left alone.
"""

import logging

from alembic.autogenerate.api import AutogenContext
from alembic.operations.ops import AddConstraintOp, AlterColumnOp, CreateIndexOp, DropConstraintOp, DropIndexOp, ModifyTableOps
from alembic.runtime.plugins import Plugin
from alembic.util import DispatchPriority, PriorityDispatchResult
from sqlalchemy import Connection, Table, UniqueConstraint
from sqlalchemy.exc import DBAPIError

from service.migrations.definitions import Definition, Probe, Standing, collations, probing, standing
from service.migrations.matching import Indexes, Matching
from service.migrations.places import Place
from service.migrations.recording import recorded
from service.migrations.refusing import divided
from service.migrations.restoring import restored

log = logging.getLogger(__name__)


def _compare(  # noqa: PLR0917  (Alembic calls by position)
    context: AutogenContext,
    changes: ModifyTableOps,
    schema: str | None,
    name: str,
    live: Table | None,
    modelled: Table | None,
) -> PriorityDispatchResult:
    if context.connection is not None and live is not None:
        place = Place(name, schema)
        if modelled is None:
            changes.ops[:] = restored(changes.ops, standing(context.connection, name, schema).values(), place)
        else:
            _Table(context.connection, changes, place, live, modelled).compare()
    return PriorityDispatchResult.CONTINUE


class _Table:
    """A table that exists on both sides, and what has been found about it so far."""

    def __init__(self, connection: Connection, changes: ModifyTableOps, place: Place, live: Table, modelled: Table) -> None:
        self._connection, self._changes, self._place, self._live, self._modelled = connection, changes, place, live, modelled
        self._stands = standing(connection, place.table, place.schema)

    def compare(self) -> None:
        kept = [change for change in self._changes.ops if not isinstance(change, CreateIndexOp | DropIndexOp)]
        self._changes.ops[:] = kept
        with probing(self._connection, self._modelled) as probe:
            wanted = probe.indexes()
            self._compare_collations(probe)
            self._compare_constraints(wanted)
            self._compare_indexes(_free(wanted), self._as_they_will_be(probe, _free(wanted)))

    def _compare_indexes(self, wanted: Indexes, stands: dict[str, Standing]) -> None:
        known = recorded(self._connection)
        matching = Matching(self._place, wanted, stands, lambda name: (self._place.schema, name) in known)
        operations = matching.operations()
        if operations:
            divided(self._connection, self._place, operations[0].name)
        self._changes.ops.extend(operations)
        for name in matching.outside:
            self._tell_outside(stands[name])

    def _tell_outside(self, index: Standing) -> None:
        log.info("index %s of %s is left alone: no model has it, and no migration of ours made it", index.name, self._place)
        going = sorted(index.columns - set(self._modelled.c.keys()))
        if going:
            remedy = f"op.remove_index({index.name!r}, {str(self._place.table)!r})"
            log.warning("it covers %s, which no model has: say %s in a revision before that column goes", going[0], remedy)

    def _as_they_will_be(self, probe: Probe, wanted: Indexes) -> dict[str, Standing]:
        """The standing indexes, in the words they will have once the columns have the model's types."""
        stands = _free(self._stands)
        if any(isinstance(change, AlterColumnOp) and change.modify_type is not None for change in self._changes.ops):
            for name, index in stands.items():
                if name not in wanted or index.definition != wanted[name].definition:
                    stands[name] = _reworded(probe, index)
        return stands

    def _compare_constraints(self, wanted: Indexes) -> None:
        """What Alembic doesn't compare of a unique constraint: the order of its columns."""
        seen = {getattr(change, "constraint_name", None) for change in self._changes.ops}
        for name in sorted(wanted.keys() & self._stands.keys() - seen):
            old, new = _constraint(self._live, name), _constraint(self._modelled, name)
            if old is not None and new is not None and wanted[name].definition != self._stands[name].definition:
                self._changes.ops.extend([DropConstraintOp.from_constraint(old), AddConstraintOp.from_constraint(new)])

    def _compare_collations(self, probe: Probe) -> None:
        """What Alembic doesn't compare of a column: the order in which its values stand."""
        here, there = collations(self._connection, self._place.table, self._place.schema), probe.collations()
        altered = {change.column_name: change for change in self._changes.ops if isinstance(change, AlterColumnOp)}
        for name in sorted(here.keys() & there.keys()):
            if here[name] == there[name] or (name in altered and altered[name].modify_type is not None):
                continue
            if name in altered:
                altered[name].modify_type = self._modelled.c[name].type
            else:
                self._changes.ops.append(self._alteration(name))

    def _alteration(self, name: str) -> AlterColumnOp:
        old = self._live.c[name]
        return AlterColumnOp(
            self._place.table,
            name,
            schema=self._place.schema,
            existing_type=old.type,
            existing_nullable=old.nullable,
            existing_server_default=old.server_default or False,
            modify_type=self._modelled.c[name].type,
        )


def _free(indexes: Indexes) -> dict[str, Standing]:
    """Those that come and go by themselves."""
    return {name: index for name, index in indexes.items() if not index.of_constraint}


def _reworded(probe: Probe, index: Standing) -> Standing:
    """An index whose words the model's types don't allow is another one, whatever it will be."""
    try:
        definition: Definition = probe.reworded(index.definition)
    except DBAPIError:
        return index
    return Standing(index.name, definition, index.valid, columns=index.columns, extensions=index.extensions)


def _constraint(table: Table, name: str) -> UniqueConstraint | None:
    found = (one for one in table.constraints if isinstance(one, UniqueConstraint) and one.name == name)
    return next(found, None)


plugin = Plugin("shelfmark.indexes")
plugin.add_autogenerate_comparator(_compare, "table", "index_definitions", qualifier="postgresql", priority=DispatchPriority.LAST)
