"""The heart of the contract: each path that accepts a question gives exactly the question's answer, page by page.

Random contracts, questions and tables; the oracle filters and sorts in plain Python.
"""

from dataclasses import replace

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from service.contract.choose import Choice, choose
from service.contract.keyset import After, Condition, Equal, Null, after
from service.contract.path import Contract, Key
from service.contract.question import Question
from tests.contract import oracle
from tests.contract.oracle import Row
from tests.contract.strategies import contracts, questions, tables

trial = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def choices(contract: Contract, question: Question) -> list[Choice]:
    """What each path says to a question when it stands alone."""
    alone = (choose(replace(contract, paths=(path,)), question) for path in contract.paths)
    return [choice for choice in alone if choice is not None]


def run(choice: Choice, question: Question, rows: list[Row]) -> list[Row]:
    """What the index gives for the leading equalities and the range alone: nothing is filtered afterwards."""
    fixed = {key.name: question.equals[key.name] for key in choice.keys[: choice.lead]}
    entered = Question(fixed, question.ranges, question.among)
    entries = oracle.scan(choice.keys, [row for row in rows if oracle.holds(choice.path, row)])
    return contiguous(entries, [row for row in entries if oracle.asked_for(entered, row)])


def contiguous(entries: list[Row], found: list[Row]) -> list[Row]:
    """The rows found, which must stand side by side in the index."""
    begin = entries.index(found[0]) if found else 0
    assert entries[begin : begin + len(found)] == found
    return found


def one_way(keys: tuple[Key, ...]) -> tuple[tuple[str, bool, bool], ...]:
    """Names and directions of keys, in the order of a scan."""
    return tuple((key.name, key.descending, key.nulls_first) for key in keys)


@trial
@given(st.data())
def test_each_path_that_accepts_a_question_gives_its_answer(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    rows = data.draw(tables(contract))
    expected = oracle.answer(contract, question, rows)
    found = choices(contract, question)
    event("served" if found else "refused")
    for choice in found:
        event(choice.kind)
        if choice.kind == "many":
            assert sorted(map(str, expected)) == sorted(map(str, many(choice, question, rows)))
        else:
            assert run(choice, question, rows) == expected
        assert choice.kind != "one" or len(expected) <= 1


def many(choice: Choice, question: Question, rows: list[Row]) -> list[Row]:
    """One entry of the index for each value at most."""
    entries = [row for row in rows if oracle.holds(choice.path, row) and oracle.asked_for(question, row)]
    (name,) = question.among
    assert len(entries) == len({row[name] for row in entries})
    return entries


@trial
@given(st.data())
def test_a_scan_goes_along_the_whole_index_forward_or_backward(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    for choice in choices(contract, data.draw(questions(contract))):
        keys = choice.path.keys
        assert one_way(choice.keys) in {one_way(keys), one_way(tuple(key.reversed() for key in keys))}


@trial
@given(st.data())
def test_which_other_paths_exist_never_changes_the_answer(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    alone = choices(contract, question)
    together = choose(contract, question)
    assert (together is None) == (not alone)
    if together:
        assert together == min(alone, key=lambda choice: (-choice.lead, choice.path.name))
    assert len({choice.order for choice in alone if choice.kind == "list"}) <= 1


@trial
@given(st.data())
def test_the_rows_after_any_row_come_as_ranges_of_the_index(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    rows = data.draw(tables(contract))
    for choice in choices(contract, question):
        if choice.kind == "list":
            answer = oracle.answer(contract, question, rows)
            for at, row in enumerate(answer):
                assert following(choice, row, answer) == answer[at + 1 :]


def following(choice: Choice, row: Row, answer: list[Row]) -> list[Row]:
    """The rows of all branches, one branch after the other."""
    found: list[Row] = []
    for branch in after(choice.walked, {sort.name: row[sort.name] for sort in choice.order}):
        assert condition_keys(branch) == [key.name for key in choice.walked][: len(condition_keys(branch))]
        assert all(None not in condition.values for condition in branch if not isinstance(condition, Null))
        found += contiguous(answer, [other for other in answer if oracle.in_branch(branch, other)])
    return found


def condition_keys(branch: tuple[Condition, ...]) -> list[str]:
    """The keys that a branch names, which an index can only be entered by from the first one on."""
    assert all(isinstance(pinned, Equal) or (isinstance(pinned, Null) and not pinned.negated) for pinned in branch[:-1])
    return [name for found in branch for name in (found.names if isinstance(found, Equal | After) else (found.name,))]


@trial
@given(st.data())
def test_a_walk_meets_each_row_once_even_if_the_index_is_swapped_at_each_page(data: st.DataObject) -> None:
    contract = data.draw(contracts())
    question = data.draw(questions(contract))
    rows = data.draw(tables(contract))
    lists = [choice for choice in choices(contract, question) if choice.kind == "list"]
    if not lists:
        return
    limit = data.draw(st.integers(1, 3))
    met: list[Row] = run(lists[0], question, rows)[:limit]
    for page in range(1, len(rows) + 1):
        if met:
            choice = lists[page % len(lists)]
            met += following(choice, met[-1], run(choice, question, rows))[:limit]
    assert met == oracle.answer(contract, question, rows)
