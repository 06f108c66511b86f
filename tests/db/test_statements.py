"""What selects an index is written as a literal, everything else is bound."""

from tests.db.kinds import Kind, Kinds
from tests.fixtures.statements import Queries, ServedBy


async def test_a_partial_indexs_predicate_and_the_limit_are_literals(kinds: Kinds, queries: Queries) -> None:
    await kinds.page(Kind.wild, word="wild")
    statement, values = queries.sent[-1]
    assert "word = 'wild'" in statement
    assert "LIMIT 51" in statement
    assert values == ()


async def test_a_partial_index_is_ridden(kinds: Kinds, served_by: ServedBy) -> None:
    async with served_by("ix_test_kinds_wild"):
        await kinds.page(Kind.wild, word="wild")
