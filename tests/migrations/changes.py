"""Changes of indexes, each on a table of its own: what the model said before, what it says now, and how that is told."""

from collections.abc import Callable
from typing import Any, NamedTuple

from sqlalchemy import Column, Computed, DateTime, Enum, Index, Integer, MetaData, String, Table, Text, UniqueConstraint, func, text
from sqlalchemy.dialects.postgresql import JSONB

from service.db import folded
from tests.migrations.projects import metadata, table

Says = Callable[[Table], object]
ATTIC = "attic"


class Change(NamedTuple):
    """What a model says of a table's indexes, before and now.

    Attributes:
        told: the sentences of `alembic check`, with {t} for the table.
        revisions: how many have to be written.
    """

    before: Says
    now: Says
    told: tuple[str, ...]
    revisions: int = 1
    schema: str | None = None


def nothing(_: Table) -> None:
    """No index."""


def of(*columns: str, name: str = "ix_{t}", **options: Any) -> Says:
    """An index of plain columns; it is called after its table."""
    return lambda t: Index(name.format(t=t.name), *[t.c[column] for column in columns], **options)


def by(make: Callable[[Table], Any], name: str = "ix_{t}", **options: Any) -> Says:
    """An index of one expression."""
    return lambda t: Index(name.format(t=t.name), make(t), _table=t, **options)


def both(*says: Says) -> Says:
    """Several things."""
    return lambda t: [each(t) for each in says]


def new(name: str, kind: Any = Integer) -> Says:
    """A further column."""
    return lambda t: t.append_column(Column(name, kind))


def differs(old: str, now: str) -> tuple[str, ...]:
    """The sentence for an index that is another now."""
    return (f"Index ix_{{t}} of {{t}} is {old} in the database, {now} in the model.",)


TRIGRAM: dict[str, Any] = {"postgresql_using": "gin", "postgresql_ops": {"name": "gin_trgm_ops"}}
HERE: dict[str, Any] = {"postgresql_where": text("width > 3")}

CHANGES: dict[str, Change] = {
    "missing": Change(nothing, of("name", "id"), ("Index ix_{t} of {t} is missing: btree (name, id).",)),
    "unwanted": Change(of("name"), nothing, ("Index ix_{t} of {t} is in no model.",)),
    "another_column": Change(of("name"), of("width"), differs("btree (name)", "btree (width)")),
    "another_order": Change(of("name", "width"), of("width", "name"), differs("btree (name, width)", "btree (width, name)")),
    "one_column_more": Change(of("name"), of("name", "id"), differs("btree (name)", "btree (name, id)")),
    "direction": Change(of("width"), by(lambda t: t.c.width.desc()), differs("btree (width)", "btree (width DESC)")),
    "nulls": Change(
        by(lambda t: t.c.width.desc()),
        by(lambda t: t.c.width.desc().nulls_last()),
        differs("btree (width DESC)", "btree (width DESC NULLS LAST)"),
    ),
    "expression": Change(
        by(lambda t: func.lower(t.c.name)),
        by(lambda t: func.upper(t.c.name)),
        differs("btree (lower(name))", "btree (upper(name))"),
    ),
    "literal_in_an_expression": Change(
        by(lambda t: t.c.width + 7), by(lambda t: t.c.width + 8), differs("btree (((width + 7)))", "btree (((width + 8)))")
    ),
    "collation_of_a_key": Change(
        of("name"), by(lambda t: t.c.name.collate("POSIX")), differs("btree (name)", 'btree (name COLLATE "POSIX")')
    ),
    "operator_class": Change(
        of("name"),
        of("name", postgresql_ops={"name": "text_pattern_ops"}),
        differs("btree (name)", "btree (name text_pattern_ops)"),
    ),
    "access_method": Change(of("name"), of("name", postgresql_using="hash"), differs("btree (name)", "hash (name)")),
    "condition_added": Change(of("name"), of("name", **HERE), differs("btree (name)", "btree (name) WHERE (width > 3)")),
    "condition_changed": Change(
        of("name", **HERE),
        of("name", postgresql_where=text("width > 4")),
        differs("btree (name) WHERE (width > 3)", "btree (name) WHERE (width > 4)"),
    ),
    "condition_taken_away": Change(of("name", **HERE), of("name"), differs("btree (name) WHERE (width > 3)", "btree (name)")),
    "include_added": Change(
        of("name"), of("name", postgresql_include=["width"]), differs("btree (name)", "btree (name) INCLUDE (width)")
    ),
    "include_changed": Change(
        of("name", postgresql_include=["width"]),
        of("name", postgresql_include=["id"]),
        differs("btree (name) INCLUDE (width)", "btree (name) INCLUDE (id)"),
    ),
    "storage_option": Change(
        of("name"), of("name", postgresql_with={"fillfactor": 70}), differs("btree (name)", "btree (name) WITH (fillfactor='70')")
    ),
    "option_of_gin": Change(
        of("attributes", postgresql_using="gin"),
        of("attributes", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
        differs("gin (attributes)", "gin (attributes) WITH (fastupdate=off)"),
    ),
    "unique_now": Change(of("name"), of("name", unique=True), differs("btree (name)", "unique btree (name)")),
    "no_longer_unique": Change(of("name", unique=True), of("name"), differs("unique btree (name)", "btree (name)")),
    "nulls_not_distinct": Change(
        of("name", unique=True),
        of("name", unique=True, postgresql_nulls_not_distinct=True),
        differs("unique btree (name)", "unique btree (name) NULLS NOT DISTINCT"),
    ),
    "operator_class_of_an_extension": Change(
        of("name"),
        of("name", **TRIGRAM),
        differs("btree (name)", "gin (name gin_trgm_ops)"),
        revisions=2,
    ),
    "renamed": Change(of("name"), of("name", name="{t}_by_name"), ("Index ix_{t} of {t} is called {t}_by_name in the model.",)),
    "renamed_and_its_name_given_away": Change(
        of("name"),
        both(of("name", name="{t}_by_name"), of("width")),
        ("Index ix_{t} of {t} is called {t}_by_name in the model.", "Index ix_{t} of {t} is missing: btree (width)."),
    ),
    "names_changed": Change(
        both(of("name", name="a_{t}"), of("width", name="b_{t}")),
        both(of("name", name="b_{t}"), of("width", name="a_{t}")),
        ("Index b_{t} of {t} is called a_{t} in the model.",),
    ),
    "names_changed_in_a_round": Change(
        both(of("name", name="a_{t}"), of("width", name="b_{t}"), of("id", "name", name="c_{t}")),
        both(of("name", name="b_{t}"), of("width", name="c_{t}"), of("id", "name", name="a_{t}")),
        ("Index c_{t} of {t} is called a_{t} in the model.", "Index c_{t} of {t} is called b_{t} in the model."),
    ),
    "one_of_two_equals_goes": Change(
        both(of("name", name="a_{t}"), of("name", name="b_{t}")), of("name", name="b_{t}"), ("Index a_{t} of {t} is in no model.",)
    ),
    "two_equals_for_one": Change(
        of("name"),
        both(of("name", name="a_{t}"), of("name", name="b_{t}")),
        ("Index ix_{t} of {t} is called a_{t} in the model.", "Index b_{t} of {t} is missing: btree (name)."),
    ),
    "on_a_new_column": Change(
        nothing,
        both(new("room"), of("room", "id")),
        ("Column {t}.room is missing.", "Index ix_{t} of {t} is missing: btree (room, id)."),
        revisions=2,
    ),
    "with_a_new_column": Change(
        of("name"),
        both(new("room"), of("name", postgresql_include=["room"])),
        ("Column {t}.room is missing.", *differs("btree (name)", "btree (name) INCLUDE (room)")),
        revisions=2,
    ),
    "of_a_column_that_goes": Change(
        both(new("room"), by(lambda t: t.c.room + 1)),
        nothing,
        ("Index ix_{t} of {t} is in no model.", "Column {t}.room is in no model."),
        revisions=2,
    ),
    "without_a_column_that_goes": Change(
        both(new("room"), of("name", "room")),
        of("name"),
        (*differs("btree (name, room)", "btree (name)"), "Column {t}.room is in no model."),
        revisions=2,
    ),
    "from_an_old_column_to_a_new_one": Change(
        both(new("room"), of("room")),
        both(new("shelf"), of("shelf")),
        ("Column {t}.shelf is missing.", *differs("btree (room)", "btree (shelf)"), "Column {t}.room is in no model."),
        revisions=3,
    ),
    "in_another_schema": Change(
        of("width"), by(lambda t: t.c.width.desc()), differs("btree (width)", "btree (width DESC)"), schema=ATTIC
    ),
    "renamed_in_another_schema": Change(
        of("name"), of("name", name="{t}_by_name"), ("Index ix_{t} of {t} is called {t}_by_name in the model.",), schema=ATTIC
    ),
    "Names in need of quotes": Change(
        of("name", name="It's {t}"),
        of("name", "id", name="It's {t}"),
        ("Index It's {t} of {t} is btree (name) in the database, btree (name, id) in the model.",),
    ),
    "constraint_becomes_index": Change(
        lambda t: t.append_constraint(UniqueConstraint("name", name=f"uq_{t.name}")),
        of("name", name="uq_{t}", unique=True),
        ("Constraint uq_{t} is in no model, or different.", "Index uq_{t} of {t} is missing: unique btree (name)."),
        revisions=2,
    ),
    "index_becomes_constraint": Change(
        of("name", name="uq_{t}", unique=True),
        lambda t: t.append_constraint(UniqueConstraint("name", name=f"uq_{t.name}")),
        ("Constraint uq_{t} is missing, or different.", "Index uq_{t} of {t} is in no model."),
        revisions=2,
    ),
    "type_that_an_operator_class_refuses": Change(
        both(new("label", Text), of("label", postgresql_ops={"label": "text_pattern_ops"})),
        both(new("label", String(20)), of("label", postgresql_ops={"label": "varchar_pattern_ops"})),
        (
            "Column {t}.label has the type TEXT() in the database, String(length=20) in the model.",
            *differs("btree (label text_pattern_ops)", "btree (label varchar_pattern_ops)"),
        ),
        revisions=3,
    ),
}

# Differences that are not of an index as such; seen, and mended by what Alembic writes.
OTHERS: dict[str, Change] = {
    "collation_of_a_column": Change(
        both(new("label", Text), of("label")),
        both(new("label", Text(collation="C")), of("label")),
        ("Column {t}.label has the type TEXT() in the database, Text(collation='C') in the model.",),
    ),
    "collation_taken_away": Change(
        new("label", String(10, collation="C")),
        new("label", String(10)),
        ("Column {t}.label has the type VARCHAR(length=10, collation='C') in the database, String(length=10) in the model.",),
    ),
    "type_and_what_its_index_says_then": Change(
        both(new("label", String(10)), of("name", postgresql_where=text("label = 'a'"))),
        both(new("label", Text), of("name", postgresql_where=text("label = 'a'"))),
        ("Column {t}.label has the type VARCHAR(length=10) in the database, Text() in the model.",),
    ),
    "columns_of_a_constraint": Change(
        lambda t: t.append_constraint(UniqueConstraint("name", "width", name=f"uq_{t.name}")),
        lambda t: t.append_constraint(UniqueConstraint("width", "name", name=f"uq_{t.name}")),
        ("Constraint uq_{t} is in no model, or different.", "Constraint uq_{t} is missing, or different."),
    ),
    "nulls_not_distinct_of_a_constraint": Change(
        lambda t: t.append_constraint(UniqueConstraint("name", name=f"uq_{t.name}")),
        lambda t: t.append_constraint(UniqueConstraint("name", name=f"uq_{t.name}", postgresql_nulls_not_distinct=True)),
        ("Constraint uq_{t} is in no model, or different.", "Constraint uq_{t} is missing, or different."),
    ),
    "a_table_that_goes": Change(
        both(of("name", **HERE), by(lambda t: t.c.name.collate("POSIX"), name="{t}_posix"), of("name", name="{t}_trgm", **TRIGRAM)),
        nothing,
        (
            "Table {t} is in no model.",
            "Table {t} has the trigger of a row version, and no model that asks for it.",
            "Index ix_{t} of {t} is in no model.",
            "Index {t}_posix of {t} is in no model.",
            "Index {t}_trgm of {t} is in no model.",
        ),
    ),
}

SAME: dict[str, Says] = {
    "plain": of("name", "id"),
    "ascending_said": by(lambda t: t.c.width.asc().nulls_last()),
    "nulls_first": by(lambda t: t.c.width.asc().nulls_first()),
    "descending": by(lambda t: t.c.width.desc()),
    "descending_nulls_last": by(lambda t: t.c.width.desc().nulls_last()),
    "folded": by(lambda t: folded(t.c.name)),
    "folded_and_unique": by(lambda t: folded(t.c.name), unique=True),
    "searched": by(lambda t: folded(t.c.name).label("f"), postgresql_using="gin", postgresql_ops={"f": "gin_trgm_ops"}),
    "paths_of_json": of("attributes", postgresql_using="gin", postgresql_ops={"attributes": "jsonb_path_ops"}),
    "where_null": of("name", postgresql_where=text("width IS NULL")),
    "where_equal": lambda t: Index(f"ix_{t.name}", t.c.id, postgresql_where=t.c.name == "it's"),
    "where_in": lambda t: Index(f"ix_{t.name}", t.c.id, postgresql_where=t.c.width.in_([1, 2])),
    "where_of_short_text": both(
        new("label", String(10)), lambda t: Index(f"ix_{t.name}", t.c.id, postgresql_where=t.c.label == "a")
    ),
    "where_says_using": lambda t: Index(f"ix_{t.name}", t.c.id, postgresql_where=t.c.name == f".{t.name} USING btree (name)"),
    "include": of("name", postgresql_include=["width", "id"]),
    "computed": by(lambda t: func.coalesce(t.c.width, t.c.id)),
    "fillfactor": of("name", postgresql_with={"fillfactor": 70}),
    "hash": of("name", postgresql_using="hash"),
    "brin": of("id", postgresql_using="brin", postgresql_with={"pages_per_range": 32}),
    "nulls_not_distinct_kept": of("width", unique=True, postgresql_nulls_not_distinct=True),
    "operator_class_in_a_text": by(lambda _: text("lower(name) text_pattern_ops")),
    "moment_of_a_time": both(new("at", DateTime(timezone=True)), by(lambda _: text("(date_trunc('day', at AT TIME ZONE 'UTC'))"))),
    "named_by_convention": lambda t: Index(None, t.c.name),
    "long_name_by_convention": both(
        new("a_column_with_a_name_that_is_long_enough_for_this"), lambda t: Index(None, *list(t.c)[-2:])
    ),
    "Mixed Case": both(new("Shelf Mark", Text), of("Shelf Mark", name='By "{t}" USING it')),
    "generated": both(lambda t: t.append_column(Column("twice", Integer, Computed("width * 2", persisted=True))), of("twice")),
    "constraint": lambda t: t.append_constraint(UniqueConstraint("width", "name", name=f"uq_{t.name}")),
    "two_equals": both(of("name", name="a_{t}"), of("name", name="b_{t}")),
    "kind_of_its_own": both(
        new("kind", Enum("a", "b", name="kind_of_its_own_kind")),
        lambda t: Index(f"ix_{t.name}", t.c.id, postgresql_where=t.c.kind == "a"),
    ),
}


def told(name: str) -> list[str]:
    """The sentences that a change is told by."""
    return [sentence.format(t=called(name)) for sentence in (CHANGES | OTHERS)[name].told]


def called(name: str) -> str:
    """The table of a change."""
    return f"the_{name}"


def models(*, now: bool) -> MetaData:
    """All tables, as the model says them before or now."""
    made = metadata()
    for name, change in (CHANGES | OTHERS).items():
        if name != "a_table_that_goes" or not now:
            (change.now if now else change.before)(shelf(made, name, change.schema))
    return made


def unchanged() -> MetaData:
    """The tables that nobody changes; some in a schema of their own, with a type there."""
    made = metadata()
    for name, says in SAME.items():
        says(shelf(made, name, None))
    attic = shelf(made, "where_of_a_kind", ATTIC)
    attic.append_column(Column("kind", Enum("a", "b", name="kind", schema=ATTIC)))
    Index("ix_where_of_a_kind", attic.c.name, postgresql_where=attic.c.kind == "a")
    return made


def shelf(into: MetaData, name: str, schema: str | None = None, **options: Any) -> Table:
    """The table of a change."""
    columns = (Column("name", Text(collation="C")), Column("width", Integer), Column("attributes", JSONB))
    return table(into, called(name), *columns, schema=schema, **options)


def model(*says: Says, **options: Any) -> MetaData:
    """One table, the_shelves."""
    made = metadata()
    shelves = shelf(made, "shelves", **options)
    for each in says:
        each(shelves)
    return made
