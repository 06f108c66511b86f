"""Names while an index is built or dropped, and how a migration and SQL say an index."""

import ast

from hypothesis import given
from hypothesis import strategies as st

from service.migrations.definitions import Definition
from service.migrations.places import Place, call, left_behind

MOST = 63
SHELVES, ROOMS = Place("shelves"), Place("rooms", "attic")


def test_names_for_a_while_are_each_indexs_own_and_the_same_at_each_run() -> None:
    names = [name for place in (SHELVES, ROOMS) for index in ("a", "b") for name in (place.building(index), place.dropping(index))]
    assert len(set(names)) == len(names)
    assert all(left_behind(name) and len(name) <= MOST for name in names)
    assert Place("shelves").building("a") == SHELVES.building("a")
    assert not left_behind("ix_shelfmark_building")


def test_statements_name_what_needs_quotes_and_the_schema() -> None:
    odd = Place("The rooms", "Attic")
    unique = Definition(unique=True, words="btree (id)")
    assert odd.creation("It's", unique, concurrently=True) == (
        'CREATE UNIQUE INDEX CONCURRENTLY "It\'s" ON "Attic"."The rooms" USING btree (id)'
    )
    assert odd.renaming("Old", "order") == 'ALTER INDEX "Attic"."Old" RENAME TO "order"'


@given(words=st.text(min_size=1, max_size=400), unique=st.booleans())
def test_a_line_of_a_migration_says_just_what_was_given(words: str, unique: bool) -> None:
    line = call("build_index", ROOMS, "a", definition=Definition(unique, words))
    (expression,) = ast.parse(line).body
    assert isinstance(expression, ast.Expr)
    assert isinstance(expression.value, ast.Call)
    assert [ast.literal_eval(argument) for argument in expression.value.args] == ["a", "rooms", words]
    named = {argument.arg: ast.literal_eval(argument.value) for argument in expression.value.keywords}
    assert named == ({"unique": True} if unique else {}) | {"schema": "attic"}
