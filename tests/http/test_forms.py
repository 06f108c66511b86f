"""What a form reads is what `asking.py` reads, for every question of every table."""

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as effort
from hypothesis import strategies as st

from service import schema
from service.contract.served import served
from service.db import Surface
from service.http.asking import ask
from service.http.forms import Form, deciding, shape, slots
from service.http.serve import Routes
from service.plans.questions import questions
from service.settings import Settings
from tests.fixtures.asking import parameters
from tests.fixtures.parcels import router as parcels
from tests.fixtures.rows import Full
from tests.test_walks import questions as asked_of_parcels

TABLES = [pytest.param(router, id=router.table.of.contract.table) for router in (*schema.routers(), parcels)]


def same(of: Surface, settings: Settings, given: list[tuple[str, str]], first: list[tuple[str, str]] | None = None) -> None:
    """Hold a form, made for other values, against asking."""
    asking = ask(of, given, settings, (), ())
    found = slots(of, first or given)
    assert found is not None
    form = Form(None, (), 1, asking.question.sort, found, settings.among_most)  # type: ignore[arg-type]  # nothing is read
    assert form.question(given) == asking.question


@pytest.mark.parametrize("router", TABLES)
def test_every_question_of_every_table(router: Routes, full: Full, settings: Settings) -> None:
    of = router.table.of
    for one in served(of.contract):
        if one.kind != "search":
            for question in questions(of, one, full.samples[of.contract.table]):
                same(of, settings, list(parameters(of, question).items()))


@given(one=asked_of_parcels(), other=asked_of_parcels())
@effort(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_questions_of_one_shape_are_read_by_one_form(settings: Settings, one: object, other: object) -> None:
    of = parcels.table.of
    first, second = (list(parameters(of, question).items()) for question in (one, other))  # type: ignore[arg-type]  # of questions
    if shape(first, deciding(of)) == shape(second, deciding(of)):
        same(of, settings, second, first)


@given(
    st.lists(st.tuples(st.sampled_from(["author_id", "limit", "cursor", "title"]), st.sampled_from(["null", "1", "2"])), max_size=3)
)
def test_a_shape_tells_apart_what_is_read_differently(given: list[tuple[str, str]]) -> None:
    found = shape(given, frozenset({"title"}))
    assert found is not None
    changed = [(name, "3" if name in {"author_id", "cursor"} and text != "null" else text) for name, text in given]
    assert shape(changed, frozenset({"title"})) == found
    for at, (name, text) in enumerate(given):
        if name in {"limit", "title"} or text == "null":
            other = [*given[:at], (name, "4"), *given[at + 1 :]]
            assert name == "cursor" or shape(other, frozenset({"title"})) != found


def test_long_texts_have_no_form() -> None:
    assert shape([("fields", "id," * 400)], frozenset()) is None


@pytest.mark.parametrize("wrong", [[("author_id", "x")], [("id__in", ",".join(map(str, range(101))))], [("title__startswith", "")]])
def test_a_value_that_cant_be_read(wrong: list[tuple[str, str]], settings: Settings) -> None:
    of = next(router for router in schema.routers() if router.prefix == "/books").table.of
    found = slots(of, wrong)
    assert found
    with pytest.raises(ValueError, match=r".*"):
        Form(None, (), 1, None, found, settings.among_most).question(wrong)  # type: ignore[arg-type]  # nothing is read
