"""The row version that PostgreSQL keeps: one function, and a trigger on every table whose columns ask for it.

A table asks by its columns `version` and `updated_at`, both declared with `server_onupdate` ("the database sets this at an
update"), as `service.db.Model` does. What a client sends for the two is ignored; an UPDATE that changes nothing else
changes neither.
"""

from collections.abc import Sequence

from alembic.operations import MigrateOperation, Operations
from sqlalchemy import Computed, Table

NAME = "shelfmark_row_version"

# All that is looked up by name names its schema, so that no search_path puts another operator or function in its place; a SET
# clause would do the same, but costs a change of setting at each row. Generated columns (the trigger's arguments) are still
# NULL in NEW when a BEFORE trigger runs, so they are left out of the comparison.
BODY = """
DECLARE
  changed boolean;
BEGIN
  NEW.version := OLD.version;
  NEW.updated_at := OLD.updated_at;
  IF TG_NARGS OPERATOR(pg_catalog.=) 0 THEN
    changed := OLD OPERATOR(pg_catalog.*<>) NEW;
  ELSE
    changed := (pg_catalog.to_jsonb(OLD) OPERATOR(pg_catalog.-) TG_ARGV)::pg_catalog.text OPERATOR(pg_catalog.<>)
               (pg_catalog.to_jsonb(NEW) OPERATOR(pg_catalog.-) TG_ARGV)::pg_catalog.text;
  END IF;
  IF changed THEN
    NEW.version := OLD.version OPERATOR(pg_catalog.+) 1;
    NEW.updated_at := pg_catalog.clock_timestamp();
  END IF;
  RETURN NEW;
END
"""
CREATE_FUNCTION = f"CREATE OR REPLACE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $row_version${BODY}$row_version$"
DROP_FUNCTION = f"DROP FUNCTION {NAME}()"


class CreateRowVersionFunction(MigrateOperation):
    """Create the function, or put the right one in place of another.

    Attributes:
        replaces: there was one before, so going back has nothing to drop.
    """

    def __init__(self, *, replaces: bool = False) -> None:
        self.replaces = replaces

    def reverse(self) -> MigrateOperation:
        """Undo; a repair is repeated instead, because the revisions before it want the same function."""
        return self if self.replaces else DropRowVersionFunction()

    def to_diff_tuple(self) -> tuple[str, ...]:
        """What `alembic check` prints."""
        return ("repair_function" if self.replaces else "add_function", NAME)


class DropRowVersionFunction(MigrateOperation):
    """Drop the function, when no trigger needs it any more."""

    def reverse(self) -> MigrateOperation:
        """Undo."""
        return CreateRowVersionFunction()

    def to_diff_tuple(self) -> tuple[str, ...]:
        """What `alembic check` prints."""
        return ("remove_function", NAME)


class CreateRowVersion(MigrateOperation):
    """Create a table's trigger, or put the right one in place of another.

    Attributes:
        table: the table's name.
        schema: its schema, None for the default one.
        generated: its generated columns.
        replaces: there was one before, so going back has nothing to drop.
    """

    def __init__(self, table: str, *, schema: str | None = None, generated: Sequence[str] = (), replaces: bool = False) -> None:
        self.table, self.schema, self.generated, self.replaces = table, schema, tuple(generated), replaces

    def reverse(self) -> MigrateOperation:
        """Undo; a repair is repeated instead, because the revisions before it want the same trigger."""
        return self if self.replaces else DropRowVersion(self.table, schema=self.schema, generated=self.generated)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("repair_row_version" if self.replaces else "add_row_version", self.schema, self.table)


class DropRowVersion(MigrateOperation):
    """Drop a table's trigger; the attributes are those of `CreateRowVersion`."""

    def __init__(self, table: str, *, schema: str | None = None, generated: Sequence[str] = ()) -> None:
        self.table, self.schema, self.generated = table, schema, tuple(generated)

    def reverse(self) -> MigrateOperation:
        """Undo."""
        return CreateRowVersion(self.table, schema=self.schema, generated=self.generated)

    def to_diff_tuple(self) -> tuple[str | None, ...]:
        """What `alembic check` prints."""
        return ("remove_row_version", self.schema, self.table)


@Operations.implementation_for(CreateRowVersionFunction)
def _create_function(operations: Operations, _: CreateRowVersionFunction) -> None:
    operations.execute(CREATE_FUNCTION)


@Operations.implementation_for(DropRowVersionFunction)
def _drop_function(operations: Operations, _: DropRowVersionFunction) -> None:
    operations.execute(DROP_FUNCTION)


@Operations.implementation_for(CreateRowVersion)
def _create(operations: Operations, operation: CreateRowVersion) -> None:
    when = f"BEFORE UPDATE ON {_table(operations, operation)} FOR EACH ROW"
    operations.execute(f"CREATE OR REPLACE TRIGGER {NAME} {when} {_action(operation.generated)}")


@Operations.implementation_for(DropRowVersion)
def _drop(operations: Operations, operation: DropRowVersion) -> None:
    operations.execute(f"DROP TRIGGER IF EXISTS {NAME} ON {_table(operations, operation)}")


def keeps_version(table: Table) -> bool:
    """Whether a table's columns leave its version to the database."""
    return all(name in table.c and table.c[name].server_onupdate is not None for name in ("version", "updated_at"))


def generated_columns(table: Table) -> tuple[str, ...]:
    """The columns that PostgreSQL computes."""
    return tuple(column.name for column in table.c if isinstance(column.server_default, Computed))


def definition(generated: Sequence[str]) -> str:
    """The end of a right trigger's definition, as `pg_get_triggerdef` writes it."""
    return _action(generated).replace("(OLD.* OPERATOR(pg_catalog.*<>) NEW.*)", "((old.* *<> new.*))")


def _action(generated: Sequence[str]) -> str:
    """When the trigger calls the function. PostgreSQL forbids OLD.* where a column is generated: then it is called always."""
    names = ", ".join("'" + name.replace("'", "''") + "'" for name in generated)
    when = "" if generated else "WHEN (OLD.* OPERATOR(pg_catalog.*<>) NEW.*) "
    return f"{when}EXECUTE FUNCTION {NAME}({names})"


def _table(operations: Operations, operation: CreateRowVersion | DropRowVersion) -> str:
    quote = operations.get_context().dialect.identifier_preparer.quote
    return ".".join(quote(part) for part in (operation.schema, operation.table) if part)
