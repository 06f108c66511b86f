"""The operations on indexes as SQL for a file, which can't look what is there: written so that it may be run twice.

An index is always built under a name of its own and then given its right one, whatever stood there: a second run builds it again.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from alembic.runtime.migration import MigrationContext

from service.migrations.building import PATIENT, WITHDRAWN_SECONDS
from service.migrations.definitions import Definition
from service.migrations.places import Place

LIMITS = [name for name in PATIENT if name != "transaction_timeout"]  # which came with PostgreSQL 17


def build(context: MigrationContext, place: Place, name: str, definition: Definition) -> None:
    """Build an index, and drop what had its name."""
    building, dropping = place.building(name), place.dropping(name)
    with _apart(context, f"build {name} on {place}"):
        _write(context, [_drop(place, building), _drop(place, dropping), place.creation(building, definition, concurrently=True)])
        if _computes(definition):
            _write(context, [f"ANALYZE {place}"])
        _write(context, ["BEGIN", place.renaming(name, dropping, if_exists=True), place.renaming(building, name), "COMMIT"])
        _write(context, _ended(place, dropping))


def remove(context: MigrationContext, place: Place, name: str) -> None:
    """Drop an index, if it is there."""
    dropping = place.dropping(name)
    with _apart(context, f"remove {name} of {place}"):
        _write(context, [_drop(place, dropping), place.renaming(name, dropping, if_exists=True), *_ended(place, dropping)])


def rename(context: MigrationContext, place: Place, old: str, new: str, definition: Definition | None) -> None:
    """Give an index another name, unless it has it; who has that name gets the old one."""
    if definition is None:
        statement = place.renaming(old, new, if_exists=True)
    else:
        statement = "\n".join(_exchange(place, old, new, definition))
    with _apart(context, f"rename {old} of {place}: {new}"):
        _write(context, [statement])


def _exchange(place: Place, old: str, new: str, definition: Definition) -> Iterator[str]:
    between = place.building(new)
    words = _literal(f" USING {definition.words}")
    standing = f"to_regclass({_literal(place.quoted(new))})"
    yield "DO $rename$ BEGIN"
    yield f"IF {standing} IS NULL THEN"
    yield f"  {place.renaming(old, new)};"
    yield f"ELSIF right(pg_get_indexdef({standing}), length({words})) <> {words} THEN"
    yield from (f"  {place.renaming(one, other)};" for one, other in ((new, between), (old, new), (between, old)))
    yield "END IF;"
    yield "END $rename$"


@contextmanager
def _apart(context: MigrationContext, title: str) -> Iterator[None]:
    with context.autocommit_block():
        context.impl.static_output(f"-- {title}")
        _write(context, [f"SET {name} = 0" for name in LIMITS])
        yield
        _write(context, [f"RESET {name}" for name in LIMITS])


def _write(context: MigrationContext, statements: Iterable[str]) -> None:
    for statement in statements:
        context.impl.static_output(f"{statement};")


def _drop(place: Place, name: str) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {place.quoted(name)}"


def _ended(place: Place, name: str) -> list[str]:
    """A running service looks every second which indexes there are; then nobody uses the old one any more."""
    return [f"SELECT pg_sleep({WITHDRAWN_SECONDS:g})", _drop(place, name)]


def _computes(definition: Definition) -> bool:
    """Whether an index may hold an expression: then there is more than the brackets around its keys."""
    return definition.words.partition(" WHERE ")[0].count("(") > 1


def _literal(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
