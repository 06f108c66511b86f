"""The operations that matching finds lead from any indexes to those that a model wants, and are as few as can be."""

from hypothesis import given
from hypothesis import strategies as st

from service.db.catalogue import BUILDING
from service.migrations.concurrent import BuildIndex, IndexOperation, RemoveIndex, RenameIndex
from service.migrations.definitions import Definition, Standing
from service.migrations.matching import Matching
from service.migrations.places import Place

NAMES = ["a", "b", "c", "d", f"{BUILDING}e"]
Words = dict[str, str]

words = st.dictionaries(st.sampled_from(NAMES[:4]), st.sampled_from("xyz"))
stands = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["x", "y", "z", "!x"]))
ours = st.sets(st.sampled_from(NAMES))


def indexes(given: Words) -> dict[str, Standing]:
    """An index for each name; an exclamation mark before its words: it is INVALID."""
    return {
        name: Standing(name, Definition(unique=False, words=each.strip("!")), valid=each[0] != "!") for name, each in given.items()
    }


def matching(wanted: Words, standing: Words, ours: set[str]) -> Matching:
    return Matching(Place("shelves"), indexes(wanted), indexes(standing), ours.__contains__)


def done(operations: list[IndexOperation], standing: Words) -> Words:
    """The indexes afterwards."""
    now = dict(standing)
    for operation in operations:
        match operation:
            case BuildIndex():
                now[operation.name] = operation.index.definition.words
            case RemoveIndex():
                del now[operation.name]
            case RenameIndex():
                other = now.get(operation.name)
                now[operation.name] = now.pop(operation.old)
                if other is not None:
                    now[operation.old] = other
    return now


@given(wanted=words, standing=stands, ours=ours)
def test_the_operations_lead_to_the_model_and_leave_alone_what_is_not_ours(wanted: Words, standing: Words, ours: set[str]) -> None:
    found = matching(wanted, standing, ours)
    left = {
        name: each for name, each in standing.items() if name not in wanted and name not in ours and not name.startswith(BUILDING)
    }
    assert done(found.operations(), standing) == wanted | left
    assert sorted(found.outside) == sorted(left)


@given(wanted=words, standing=stands, ours=ours)
def test_the_way_back_leads_back(wanted: Words, standing: Words, ours: set[str]) -> None:
    forward = matching(wanted, standing, ours).operations()
    back = [operation.reverse() for operation in reversed(forward)]
    assert all(isinstance(operation, IndexOperation) for operation in back)
    backward = [
        operation for operation in back if isinstance(operation, IndexOperation) and not operation.name.startswith(BUILDING)
    ]
    assert valid(done(backward, done(forward, standing))) == valid(standing)


def valid(given: Words) -> Words:
    """Whole, as a way back makes them; without what was left behind."""
    return {name: each.strip("!") for name, each in given.items() if not name.startswith(BUILDING)}


@given(wanted=words, ours=ours)
def test_where_all_is_right_there_is_nothing_to_do(wanted: Words, ours: set[str]) -> None:
    assert matching(wanted, wanted, ours).operations() == []


@given(st.permutations(NAMES[:4]))
def test_names_in_another_order_need_no_building(order: list[str]) -> None:
    standing = dict(zip(NAMES[:4], "wxyz", strict=True))
    wanted = dict(zip(order, "wxyz", strict=True))
    assert all(isinstance(operation, RenameIndex) for operation in matching(wanted, standing, set()).operations())
