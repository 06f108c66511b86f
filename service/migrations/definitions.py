"""Definitions of indexes as PostgreSQL itself writes them: of those that stand, and of those that are wanted.

Two indexes are alike if PostgreSQL writes both in the same words; nothing is parsed here. A wanted one is built on an empty
temporary table, inside a savepoint that is rolled back: `written` takes it from a model, `rewritten` from the words of a migration.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Column, Computed, Connection, Index, MetaData, PrimaryKeyConstraint, Table, UniqueConstraint, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateIndex

from service.errors import SetupError
from service.migrations.failures import said
from service.migrations.opclasses import INSTALLED, needed

PROBE = "shelfmark_probe"
UNDEFINED = "42704"
# What stands before USING names the index, the table and its schema; whether the index is unique stands there too.
STANDING = text("""
SELECT x.relname::text, i.indisunique, substr(rest, strpos(rest, mark) + length(mark)),
       i.indisvalid AND i.indisready AND i.indislive, k.conname IS NOT NULL, i.indexprs IS NOT NULL,
       ARRAY(SELECT DISTINCT a.attname::text FROM pg_depend d
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = d.refobjsubid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
               AND d.refclassid = 'pg_class'::regclass AND d.refobjid = i.indrelid AND d.refobjsubid > 0),
       ARRAY(SELECT DISTINCT e.extname::text FROM pg_depend d
             JOIN pg_depend b ON b.classid = d.refclassid AND b.objid = d.refobjid AND b.deptype = 'e'
             JOIN pg_extension e ON e.oid = b.refobjid
             WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid)
FROM pg_index i
JOIN pg_class x ON x.oid = i.indexrelid
JOIN pg_class t ON t.oid = i.indrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
CROSS JOIN LATERAL (SELECT format('CREATE %sINDEX %I ON ', CASE WHEN i.indisunique THEN 'UNIQUE ' END, x.relname) AS head,
                           format('.%I USING ', t.relname) AS mark) f
CROSS JOIN LATERAL (SELECT substr(pg_get_indexdef(i.indexrelid), length(head) + 1) AS rest) r
WHERE t.relname = :table AND n.nspname = coalesce(CAST(:schema AS text), current_schema())
""")
PARTITIONED = text("""
SELECT EXISTS (SELECT FROM pg_class t JOIN pg_namespace n ON n.oid = t.relnamespace
               WHERE t.relkind = 'p' AND t.relname = :table AND n.nspname = coalesce(CAST(:schema AS text), current_schema()))
""")
COLLATIONS = text("""
SELECT a.attname::text, a.attcollation::bigint FROM pg_attribute a
JOIN pg_class t ON t.oid = a.attrelid
JOIN pg_namespace n ON n.oid = t.relnamespace
WHERE a.attnum > 0 AND NOT a.attisdropped
  AND t.relname = :table AND n.nspname = coalesce(CAST(:schema AS text), current_schema())
""")
ADVICE = {
    "has no default operator class": (
        "Name an operator class in postgresql_ops, under the column's name or the expression's label; or create the extension that "
        "has one for such values (btree_gin, btree_gist): op.create_extension(...) in a revision before."
    ),
    "operator class": (
        "Correct the operator class in the model, or create the extension that has it: op.create_extension(...) in a revision "
        "before."
    ),
    "schema ": "Correct the name in front of the dot, or create that schema in a revision before.",
    "IMMUTABLE": "What an index computes may depend on nothing but the row.",
    "already exists": "Something else in the schema has that name: choose another.",
    "": "Correct the index in the model.",
}
TEMPORARY_SCHEMA = text("SELECT nspname::text FROM pg_namespace WHERE oid = pg_my_temp_schema()")


@dataclass(frozen=True, slots=True)
class Definition:
    """What an index is, but for its name and table.

    Attributes:
        words: what PostgreSQL writes after USING: `btree (author_id, published_year DESC NULLS LAST, id)`.
    """

    unique: bool
    words: str

    def __str__(self) -> str:
        return f"{'unique ' if self.unique else ''}{self.words}"


@dataclass(frozen=True, slots=True)
class Standing:
    """An index that the database has.

    Attributes:
        valid: whether it is whole, and used: a build that was broken off leaves one that isn't.
        of_constraint: whether it belongs to a primary key or another constraint, and comes and goes with that.
        computed: whether it holds an expression, of which PostgreSQL keeps statistics.
        columns: those it needs: its keys, and what its expressions, its condition and INCLUDE name.
        extensions: those it needs: for an operator class, above all.
    """

    name: str
    definition: Definition
    valid: bool = True
    of_constraint: bool = False
    computed: bool = False
    columns: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()


def standing(connection: Connection, table: str, schema: str | None = None) -> dict[str, Standing]:
    """The indexes of a table of the database, by name."""
    return {
        name: Standing(name, Definition(unique, words), valid, held, computed, frozenset(columns), frozenset(extensions))
        for name, unique, words, valid, held, computed, columns, extensions in connection.execute(
            STANDING, {"table": table, "schema": schema}
        )
    }


def partitioned(connection: Connection, table: str, schema: str | None = None) -> bool:
    """Whether a table of the database only holds partitions."""
    return bool(connection.scalar(PARTITIONED, {"table": table, "schema": schema}))


def collations(connection: Connection, table: str, schema: str | None = None) -> dict[str, int]:
    """The collation of each column of a table of the database, as PostgreSQL numbers them; 0 where order needs none."""
    return {row.attname: row.attcollation for row in connection.execute(COLLATIONS, {"table": table, "schema": schema})}


def written(connection: Connection, table: Table) -> dict[str, Definition]:
    """The indexes of a model's table, those of its keys and unique constraints included, as PostgreSQL would write them, by name.

    The table itself need not exist, nor the types of its columns.

    Raises:
        SetupError: PostgreSQL can't build one: an operator class, a function or an extension is missing.
    """
    with probing(connection, table) as probe:
        return {name: one.definition for name, one in probe.indexes().items()}


def rewritten(connection: Connection, table: str, definition: Definition, schema: str | None = None) -> Definition:
    """The definition of a wanted index, in the words that PostgreSQL finds for it; the table exists.

    Raises:
        DBAPIError: PostgreSQL can't build it.
    """
    quote = connection.dialect.identifier_preparer.quote
    live = ".".join(quote(part) for part in (schema, table) if part)
    with _undone(connection):
        connection.exec_driver_sql(f"CREATE TEMPORARY TABLE {PROBE} (LIKE {live} INCLUDING GENERATED)")
        return Probe(connection).reworded(definition)


class Probe:
    """A temporary copy of a model's table, with its indexes."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._schema: str | None = connection.scalar(TEMPORARY_SCHEMA)

    def indexes(self) -> dict[str, Standing]:
        """The indexes of the model, by name."""
        return standing(self._connection, PROBE, self._schema)

    def collations(self) -> dict[str, int]:
        """The collations of the model's columns, by name."""
        return collations(self._connection, PROBE, self._schema)

    def reworded(self, definition: Definition) -> Definition:
        """An index by its words, as PostgreSQL writes it once the table is as it is here.

        Raises:
            DBAPIError: such a table can't have it.
        """
        name, unique = f"{PROBE}_index", "UNIQUE " if definition.unique else ""
        with _undone(self._connection):
            self._connection.exec_driver_sql(f"CREATE {unique}INDEX {name} ON pg_temp.{PROBE} USING {definition.words}")
            return self.indexes()[name].definition


@contextmanager
def probing(connection: Connection, table: Table) -> Iterator[Probe]:
    """A temporary copy of a model's table, which may be unknown to the database; it is gone after the block.

    Raises:
        SetupError: PostgreSQL can't build an index of the model.
    """
    copy, indexes = _copied(table)
    with _undone(connection):
        _bring_extensions(connection, table, indexes)
        _make(connection, copy, table)
        for index in indexes:
            _build(connection, table, index)
        yield Probe(connection)


def _copied(table: Table) -> tuple[Table, list[Index]]:
    """The model's table as a temporary one, and apart from it its indexes. What no index depends on stays behind."""
    copy = table.to_metadata(MetaData(), name=PROBE)
    copy.schema = "pg_temp"  # not sooner: types that live in the table's schema would move as well
    copy.constraints = {one for one in copy.constraints if isinstance(one, PrimaryKeyConstraint | UniqueConstraint)}
    for column in copy.columns:
        _bare(column)
    indexes = sorted(copy.indexes, key=lambda index: str(index.name))
    copy.indexes, copy.comment = set(), None
    return copy, indexes


def _bare(column: Column[object]) -> None:
    column.foreign_keys, column.comment, column.autoincrement, column.default = set(), None, False, None
    column.identity = None
    if not isinstance(column.server_default, Computed):
        column.server_default = None


def _bring_extensions(connection: Connection, table: Table, indexes: list[Index]) -> None:
    """Those that a migration will bring, if it hasn't yet."""
    for name in sorted(needed(indexes) - set(connection.scalars(INSTALLED))):
        try:
            connection.exec_driver_sql(f"CREATE EXTENSION {name}")
        except DBAPIError as error:
            raise SetupError(
                f"An index of {table.name} needs the extension {name}, which the database lacks: {said(error.orig)}. Have an "
                f"administrator create it (CREATE EXTENSION {name}), or do without this index."
            ) from error


def _make(connection: Connection, copy: Table, table: Table) -> None:
    try:
        copy.create(connection)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) != UNDEFINED:
            raise
        raise SetupError(
            f"PostgreSQL can't make the columns of {table.name}: {said(error.orig)}. Correct the model, or create what is missing "
            "in a revision before: op.create_extension(...), or op.execute(...)."
        ) from error


def _build(connection: Connection, table: Table, index: Index) -> None:
    try:
        connection.execute(CreateIndex(index))
    except DBAPIError as error:
        raise SetupError(unbuildable(str(index.name), table.name, error)) from error


@contextmanager
def _undone(connection: Connection) -> Iterator[None]:
    savepoint = connection.begin_nested()
    try:
        yield
    finally:
        savepoint.rollback()


def unbuildable(name: str, table: str, error: DBAPIError) -> str:
    """Why PostgreSQL can't build an index, and what may help."""
    reason = said(error.orig)
    advice = next(advice for part, advice in ADVICE.items() if part in reason)
    return f"PostgreSQL can't build the index {name} of {table}: {reason}. {advice}"
