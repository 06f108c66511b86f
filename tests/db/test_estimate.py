"""The planner is asked, and nothing is run."""

from service.contract.choose import choose
from service.contract.question import Question
from tests.db.kinds import Kinds
from tests.fixtures.statements import Queries


async def test_an_estimate_runs_nothing(kinds: Kinds, queries: Queries) -> None:
    question = Question({"word": "wild"})
    choice = choose(kinds.surface.contract, question)
    assert choice
    queries.clear()
    assert await kinds.estimate(question, choice) >= 0
    assert [sql.startswith("EXPLAIN") for sql, _ in queries.sent] == [True]
