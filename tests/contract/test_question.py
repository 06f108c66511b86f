"""How a question is spelled."""

import pytest

from service.contract.question import Bound, Question, Range, Sort, joined, prefix_spelled, range_spelled, spelled

LOW, HIGH = Bound(1, inclusive=True), Bound(2, inclusive=False)

SPELLED = {
    "everything": Question(),
    "author_id=": Question({"author_id": 7}),
    "returned_at=null & copy_id=": Question({"returned_at": None, "copy_id": 3}),
    "title__iexact=": Question({"title__folded": "it"}),
    "year__gte=": Question(ranges=(Range("year", lower=LOW),)),
    "year__lt=": Question(ranges=(Range("year", upper=HIGH),)),
    "year__gt= & year__lte=": Question(ranges=(Range("year", HIGH, LOW),)),
    "isbn13__startswith=": Question(ranges=(Range("isbn13", prefix="978"),)),
    "title__istartswith=": Question(ranges=(Range("title__folded", prefix=""),)),
    "id__in=": Question(among={"id": (1, 2)}),
    "a= & year__gte= & sort=-year,id": Question({"a": 0}, (Range("year", LOW),), sort=(Sort("year", descending=True), Sort("id"))),
}


@pytest.mark.parametrize(("text", "question"), SPELLED.items())
def test_a_question_reads_as_the_parameters_that_ask_it(text: str, question: Question) -> None:
    assert str(question) == text


def test_parts_by_themselves() -> None:
    assert spelled("a") == "a="
    assert prefix_spelled("a") == "a__startswith="
    assert range_spelled(Range("a")) == []
    assert joined(()) == ""
