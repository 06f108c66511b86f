"""What one statement of a migration does, and whom it holds up meanwhile.

A plain reading of the statements that migrations are made of, by their first words; of what it doesn't know it says so. The locks
are those of PostgreSQL's documentation ("Explicit Locking", and the page of each command).
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from service.db.catalogue import BUILDING, DROPPING
from service.migrations.altering import REFERRED, altering, referenced
from service.migrations.blocking import Blocks, Effect
from service.migrations.sql import NAME, clauses

SHOWN_CHARACTERS = 100
IF = r"(?:IF (?:NOT )?EXISTS )?"
NEW, WAITS = "new table: nobody waits", "waits for older transactions"
VERSIONS = "alembic_version"


@dataclass(frozen=True, slots=True)
class Step:
    """A statement of a migration.

    Attributes:
        words: what it does, in short.
        table: the table that it is about, None if there is none.
        kind: what it makes or drops, where that may be counted: "index".
    """

    words: str
    effect: Effect
    table: str | None = None
    kind: str = "change"


@dataclass(frozen=True, slots=True)
class Known:
    """What a reader knows from the statements before.

    Attributes:
        made: the tables that the migration has made itself.
        tables: index -> its table.
        called: what an index is called while it is built or before it is dropped -> its own name.
        built: the indexes that the migration builds, by their own names.
    """

    tables: dict[str, str]
    made: set[str] = field(default_factory=set)
    called: dict[str, str] = field(default_factory=dict)
    built: set[str] = field(default_factory=set)

    def table_of(self, index: str) -> str:
        """The table of an index, in words where it isn't known."""
        return self.tables.get(bare(index), f"the table of {index}")


def bare(name: str) -> str:
    """A name without its schema, and without quotes."""
    return name.rpartition(".")[2].strip('"')


def called(statement: str) -> tuple[str, str] | None:
    """What an index was called while it was built, and what it is called when that is done, if a statement says so."""
    found = re.match(rf"ALTER INDEX {IF}{NAME} RENAME TO {NAME}", statement, re.IGNORECASE)
    return (bare(found[1]), bare(found[2])) if found and bare(found[1]).startswith(BUILDING) else None


def step(statement: str, known: Known) -> Step | None:
    """What a statement does; None if it is nothing that a person must know of: BEGIN, or Alembic's own book-keeping."""
    for pattern, read in RULES:
        if found := pattern.match(statement):
            return read(found, known)
    return Step(_short(statement), Effect(Blocks.UNKNOWN))


def _create_table(found: re.Match[str], known: Known) -> Step | None:
    table = found[1]
    if table == VERSIONS:
        return None
    others = tuple(referenced(found.string, known.made | {table}))
    known.made.add(table)
    effect = Effect(Blocks.WRITES, others, note="a new table") if others else Effect(note=NEW)
    return Step(f"CREATE TABLE {table}", effect, table, "table")


def _create_index(found: re.Match[str], known: Known) -> Step:
    concurrently, table = found[2], found[4]
    name = known.called.get(bare(found[3] or ""), found[3] or "")
    known.tables[bare(name)] = table
    known.built.add(bare(name))
    if table in known.made:
        effect = Effect(note=NEW)
    elif concurrently:
        effect = Effect(Blocks.NOBODY, (table,), note=WAITS)
    else:
        effect = Effect(Blocks.WRITES, (table,), "builds")
    words = f"CREATE {found[1] or ''}INDEX {concurrently or ''}{name} ON {table}"
    return Step(" ".join(words.split()), effect, table, "index")


def _drop_index(found: re.Match[str], known: Known) -> Step | None:
    given = [bare(name) for name in clauses(found[2])]
    names = [known.called.get(name, name) for name in given]
    if given[0].startswith(BUILDING) or names[0].startswith(DROPPING) or known.built.issuperset(names):
        return None  # part of how an index is built or replaced
    tables = tuple(dict.fromkeys(known.table_of(name) for name in names))
    effect = Effect(Blocks.NOBODY, tables, note=WAITS) if found[1] else Effect(Blocks.EVERYTHING, tables)
    return Step(f"DROP INDEX {found[1] or ''}{', '.join(names)}", effect, tables[0], "index")


def _drop_table(found: re.Match[str], _: Known) -> Step:
    tables = tuple(clauses(found[1]))
    return Step(_short(found.string), Effect(Blocks.EVERYTHING, (*tables, REFERRED), note="its rows are lost"), tables[0], "table")


def _alter_table(found: re.Match[str], known: Known) -> Step:
    table, actions = found[1], found[2]
    effect = Effect(note=NEW) if table in known.made else altering(table, actions, known.made)
    return Step(_short(found.string), effect, table)


def _alter_index(found: re.Match[str], known: Known) -> Step:
    table = known.table_of(found[1])
    return Step(_short(found.string), Effect(Blocks.NOBODY, (table,)), table)


def _rename_index(found: re.Match[str], known: Known) -> Step | None:
    old, new = bare(found[1]), bare(found[2])
    if old.startswith(BUILDING):
        return None
    table = known.table_of(old)
    known.tables[new] = table
    if new.startswith(DROPPING):
        known.called[new] = old
        return None
    return Step(f"ALTER INDEX {old} RENAME TO {new}", Effect(Blocks.NOBODY, (table,)), table)


def _on(hold: Blocks, *, kind: str = "change", during: str = "") -> Callable[[re.Match[str], Known], Step]:
    """A statement that names one table, which comes last in the pattern."""

    def read(found: re.Match[str], known: Known) -> Step:
        table = found[found.re.groups]
        effect = Effect(note=NEW) if table in known.made else Effect(hold, (table,), during)
        return Step(_short(found.string), effect, table, kind)

    return read


def _harmless(found: re.Match[str], _: Known) -> Step:
    return Step(_short(found.string), Effect())


def _rows(found: re.Match[str], known: Known) -> Step | None:
    return None if found[1].rpartition(".")[2] == VERSIONS else _on(Blocks.ROWS)(found, known)


def _nothing(_found: re.Match[str], _known: Known) -> None:
    return None


def _short(statement: str) -> str:
    return statement if len(statement) <= SHOWN_CHARACTERS else f"{statement[:SHOWN_CHARACTERS]}..."


Rule = Callable[[re.Match[str], Known], Step | None]
RULES: list[tuple[re.Pattern[str], Rule]] = [
    (re.compile(pattern, re.IGNORECASE | re.DOTALL), rule)
    for pattern, rule in (
        (r"(?:BEGIN|COMMIT|ROLLBACK|SET|RESET|SHOW|SELECT pg_sleep)\b", _nothing),
        (rf"CREATE (?:UNLOGGED |TEMP |TEMPORARY )?TABLE {IF}{NAME}", _create_table),
        (rf"CREATE (UNIQUE )?INDEX (CONCURRENTLY )?{IF}(?:{NAME} )?ON (?:ONLY )?{NAME}", _create_index),
        (rf"DROP INDEX (CONCURRENTLY )?{IF}(.+?)(?: CASCADE| RESTRICT)?$", _drop_index),
        (rf"ALTER INDEX {IF}{NAME} RENAME TO {NAME}", _rename_index),
        (rf"DO \$rename\$ .*?ALTER INDEX {IF}{NAME} RENAME TO {NAME}", _rename_index),
        (rf"ALTER INDEX {IF}{NAME}", _alter_index),
        (rf"ALTER TABLE {IF}(?:ONLY )?{NAME}(?: \*)? (.+)", _alter_table),
        (rf"DROP TABLE {IF}(.+?)(?: CASCADE| RESTRICT)?$", _drop_table),
        (rf"CREATE (?:OR REPLACE )?(?:CONSTRAINT )?TRIGGER .+? ON {NAME}", _on(Blocks.WRITES, kind="trigger")),
        (rf"DROP TRIGGER {IF}\S+ ON {NAME}", _on(Blocks.EVERYTHING, kind="trigger")),
        (rf"TRUNCATE (?:TABLE )?(?:ONLY )?{NAME}", _on(Blocks.EVERYTHING)),
        (rf"(?:VACUUM \(?FULL\)?|CLUSTER|REINDEX TABLE) (?!CONCURRENTLY){NAME}", _on(Blocks.EVERYTHING, during="writes it anew")),
        (rf"(?:ANALYZE|VACUUM) {NAME}", _on(Blocks.NOBODY)),
        (rf"(?:INSERT INTO|UPDATE|DELETE FROM|MERGE INTO) (?:ONLY )?{NAME}", _rows),
        (
            r"(?:CREATE|ALTER|DROP) (?:OR REPLACE )?(?:FUNCTION|PROCEDURE|EXTENSION|SCHEMA|TYPE|DOMAIN|SEQUENCE|COLLATION)\b",
            _harmless,
        ),
        (r"(?:COMMENT ON|GRANT|REVOKE)\b", _harmless),
    )
]
