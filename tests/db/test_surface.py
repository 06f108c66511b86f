"""What can be asked of a model is read off its indexes; what can't be read as a question serves none."""

# ruff: noqa: A003  # a table's key is called id

from typing import Any, ClassVar

import pytest
from sqlalchemy import (
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    MetaData,
    Text,
    UniqueConstraint,
    and_,
    func,
    not_,
    or_,
)
from sqlalchemy.orm import Mapped, mapped_column

from service.contract.path import Key, Path, Term
from service.contract.question import Sort
from service.contract.search import SearchPath
from service.db import Model, folded, surface
from service.db.model import NAMES
from service.db.surface import idle, undeletable, unled
from service.errors import SetupError


class Surfaced(Model):
    """Tables of this module, apart from all others."""

    __abstract__ = True
    metadata = MetaData(naming_convention=NAMES)


class Owner(Surfaced):
    """What the other table refers to."""

    __tablename__ = "test_owners"
    id: Mapped[int] = mapped_column(Identity(), primary_key=True)


class Thing(Surfaced):
    """Every way to declare an index."""

    __tablename__ = "test_things"
    __table_args__ = (UniqueConstraint("code", "size", name="uq_things_code"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    renamed: Mapped[int] = mapped_column("other_name")
    owner_id: Mapped[int] = mapped_column(ForeignKey("test_owners.id"))
    size: Mapped[int | None] = mapped_column()
    code: Mapped[str] = mapped_column()
    state: Mapped[str | None] = mapped_column()
    open: Mapped[bool] = mapped_column()

    plain = Index("ix_things_plain", renamed, id)
    nulls = Index("ix_things_nulls", size.desc().nulls_last(), id.desc())
    nulls_default = Index("ix_things_nulls_default", size.desc(), id)
    carrying = Index("ix_things_carrying", code, id, postgresql_include=["size", "other_name"])
    by_folded = Index("ix_things_folded", folded(code), id)
    if_equal = Index("ix_things_if_equal", size, id, postgresql_where=state == "open")
    if_null = Index("ix_things_if_null", size, id, postgresql_where=state.is_(None))
    if_present = Index("ix_things_if_present", state, id, postgresql_where=state.is_not(None))
    if_true = Index("ix_things_if_true", id, postgresql_where=open)
    if_false = Index("ix_things_if_false", id, postgresql_where=~open)
    if_both = Index("ix_things_if_both", id, postgresql_where=and_(state == "open", size.is_(None)))
    if_either = Index("ix_things_if_either", id, postgresql_where=or_(state == "open", size.is_(None)))
    if_unlike = Index("ix_things_if_unlike", id, postgresql_where=state != "open")
    if_larger = Index("ix_things_if_larger", id, postgresql_where=renamed > 7)
    if_not_both = Index("ix_things_if_not_both", id, postgresql_where=not_(and_(state == "open", size.is_(None))))
    opaque = Index("ix_things_opaque", func.length(code), id)
    other_class = Index("ix_things_other_class", code, id, postgresql_ops={"code": "text_pattern_ops"})
    block_range = Index("ix_things_block_range", renamed, postgresql_using="brin")
    hashed = Index("ix_things_hashed", code, postgresql_using="hash")
    null_once = Index("uq_things_null_once", size, unique=True, postgresql_nulls_not_distinct=True)
    by_owner = Index("ix_things_by_owner", owner_id, id)
    no_order = Index("ix_things_no_order", state)
    default_order = (size.desc().nulls_last(), id.desc())


class Page(Surfaced):
    """Every way to declare a GIN index."""

    __tablename__ = "test_pages"

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    code: Mapped[str] = mapped_column()
    extras: Mapped[dict[str, Any]] = mapped_column("other_extras")

    folded_text = Index("ix_texts_folded", folded(code).label("f"), postgresql_using="gin", postgresql_ops={"f": "gin_trgm_ops"})
    json = Index("ix_texts_json", extras, postgresql_using="gin", postgresql_ops={"other_extras": "jsonb_path_ops"})
    exact = Index("ix_texts_exact", code, postgresql_using="gin", postgresql_ops={"code": "gin_trgm_ops"})
    partly = Index(
        "ix_texts_partly", extras, postgresql_using="gin", postgresql_ops={"other_extras": "jsonb_path_ops"},
        postgresql_where=code == "x",
    )  # fmt: skip
    two = Index(
        "ix_texts_two", folded(code).label("f"), extras, postgresql_using="gin",
        postgresql_ops={"f": "gin_trgm_ops", "other_extras": "jsonb_path_ops"},
    )  # fmt: skip
    by_default = Index("ix_texts_default", extras, postgresql_using="gin")
    gist = Index("ix_texts_gist", folded(code).label("f"), postgresql_using="gist", postgresql_ops={"f": "gist_trgm_ops"})


def path(name: str) -> Path:
    """The path of an index."""
    return next(found for found in surface(Thing).contract.paths if found.name == name)


ID = Key("id")
SIZE = Key("size", nullable=True)
PATHS = [
    Path("pk_test_things", (ID,), unique=True),
    Path("uq_things_code", (Key("code", text=True), SIZE), unique=True),
    Path("ix_things_plain", (Key("renamed"), ID)),
    Path("ix_things_nulls", (Key("size", descending=True, nullable=True), Key("id", descending=True, nulls_first=True))),
    Path("ix_things_nulls_default", (Key("size", descending=True, nulls_first=True, nullable=True), ID)),
    Path("ix_things_carrying", (Key("code", text=True), ID), include=frozenset({"size", "renamed"})),
    Path("ix_things_folded", (Key("code__folded", text=True), ID)),
    Path("ix_things_if_equal", (SIZE, ID), predicate=(Term("state", "open"),)),
    Path("ix_things_if_null", (SIZE, ID), predicate=(Term("state"),)),
    Path("ix_things_if_present", (Key("state", nullable=True, text=True), ID), predicate=(Term("state", negated=True),)),
    Path("ix_things_if_true", (ID,), predicate=(Term("open", value=True),)),
    Path("ix_things_if_false", (ID,), predicate=(Term("open", value=False),)),
    Path("ix_things_if_both", (ID,), predicate=(Term("state", "open"), Term("size"))),
    Path("uq_things_null_once", (SIZE,), unique=True, nulls_equal=True),
]


@pytest.mark.parametrize("wanted", PATHS, ids=[wanted.name for wanted in PATHS])
def test_an_index_is_read_as_a_path(wanted: Path) -> None:
    assert path(wanted.name) == wanted


@pytest.mark.parametrize(
    "name", ["if_either", "if_unlike", "if_larger", "if_not_both", "opaque", "other_class", "block_range", "hashed"]
)
def test_what_is_no_question_serves_none(name: str) -> None:
    assert f"ix_things_{name}" not in {found.name for found in surface(Thing).contract.paths}


def test_a_gin_index_is_read_as_a_search_if_it_keeps_what_is_sought() -> None:
    assert sorted(surface(Page).contract.searches, key=lambda search: search.name) == [
        SearchPath("ix_texts_folded", "icontains", "code__folded"),
        SearchPath("ix_texts_json", "has", "extras"),
    ]
    assert [found.name for found in surface(Page).contract.paths] == ["pk_test_pages"]
    assert idle(Page) == []


def test_a_hidden_column_is_not_searched() -> None:
    (search,) = surface(Page).of(frozenset({"id", "code"})).contract.searches
    assert search.key == "code__folded"


def test_the_contract_knows_keys_order_and_nulls() -> None:
    contract = surface(Thing).contract
    assert (contract.table, contract.primary) == ("test_things", ("id",))
    assert contract.default_order == (Sort("size", descending=True), Sort("id", descending=True))
    assert contract.nullable == {"size", "state", "state__folded"}


def test_a_hidden_column_can_be_asked_in_no_way() -> None:
    seen = surface(Thing).of(frozenset({"id", "code", "size"}))
    assert set(seen.expressions) == {"id", "code", "code__folded", "size"}
    names = {name for found in seen.contract.paths for name in (*found.names, *(term.name for term in found.predicate))}
    assert names == {"id", "code", "code__folded", "size"}


def test_an_index_that_serves_nothing_is_told_with_its_remedy() -> None:
    told = [line for line in idle(Thing) if "ix_things" in line]
    assert [line.split()[0] for line in told] == ["ix_things_no_order"]
    assert told[0].endswith("End its keys in the primary key: state, id")


def test_an_index_on_a_foreign_key_is_not_idle() -> None:
    class Leaf(Surfaced):
        __tablename__ = "test_leaves"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        owner_id: Mapped[int] = mapped_column(ForeignKey("test_owners.id"))
        by_owner = Index("ix_leaves_owner", owner_id)

    assert idle(Leaf) == []


def test_a_foreign_key_that_leads_no_whole_index_is_told() -> None:
    class Root(Surfaced):
        __tablename__ = "test_roots"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)

    class Branch(Surfaced):
        __tablename__ = "test_branches"
        __table_args__ = (ForeignKeyConstraint(["led_id"], ["test_roots.id"]),)
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        led_id: Mapped[int] = mapped_column()
        unled_id: Mapped[int] = mapped_column(ForeignKey("test_roots.id"))
        partly_id: Mapped[int | None] = mapped_column(ForeignKey("test_roots.id"))
        hashed_id: Mapped[int] = mapped_column(ForeignKey("test_roots.id"))
        second_id: Mapped[int] = mapped_column(ForeignKey("test_roots.id"))
        led = Index("ix_branches_led", led_id.desc(), id)
        partly = Index("ix_branches_partly", partly_id, postgresql_where=partly_id.is_not(None))
        hashed = Index("ix_branches_hashed", hashed_id, postgresql_using="hash")
        second = Index("ix_branches_second", id, second_id)

        made_id: Mapped[int] = mapped_column(ForeignKey("test_roots.id"), unique=True)

    class Crown(Surfaced):
        __tablename__ = "test_crowns"
        root_id: Mapped[int] = mapped_column(ForeignKey("test_roots.id"), primary_key=True)

    assert sorted(column.name for column in unled(Root)) == ["hashed_id", "partly_id", "second_id", "unled_id"]
    assert undeletable(Root)[0] == (
        "test_branches.hashed_id refers to test_roots and leads no whole index: each delete would scan test_branches, so "
        'test_roots has no DELETE route. Give test_branches this index: Index("ix_test_branches_hashed_id", hashed_id, id)'
    )
    assert unled(Owner) == undeletable(Owner) == unled(Crown) == []


def test_a_key_of_two_columns_is_refused() -> None:
    class Pair(Surfaced):
        __tablename__ = "test_pairs"
        left: Mapped[int] = mapped_column(primary_key=True)
        right: Mapped[int] = mapped_column(primary_key=True)

    with pytest.raises(SetupError, match="2 primary key columns"):
        surface(Pair)


def test_a_default_order_with_its_nulls_elsewhere_is_refused() -> None:
    class Strange(Surfaced):
        __tablename__ = "test_strange"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        size: Mapped[int | None] = mapped_column()
        default_order: ClassVar[Any] = (size.desc().nulls_first(), id)

    with pytest.raises(SetupError, match="NULLs of size elsewhere"):
        surface(Strange)


def test_a_default_order_of_something_unnamed_is_refused() -> None:
    class Odd(Surfaced):
        __tablename__ = "test_odd"
        id: Mapped[int] = mapped_column(Identity(), primary_key=True)
        code: Mapped[str] = mapped_column(Text)
        default_order: ClassVar[Any] = (func.length(code),)

    with pytest.raises(SetupError, match="default_order"):
        surface(Odd)
