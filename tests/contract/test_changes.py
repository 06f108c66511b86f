"""Differences of contracts, as what they are."""

from service.contract.changes import Change, changes


def test_none() -> None:
    assert changes({"a": ["x=", "y="]}, {"a": ["y=", "x="]}) == []


def test_tables_come_and_go_with_their_questions() -> None:
    assert changes({"a": ["x="]}, {"b": ["y="]}) == [
        Change("a", "x=", "taken away", whole=True),
        Change("b", "y=", "added", whole=True),
    ]


def test_what_may_be_left_out_now_is_no_loss() -> None:
    before, now = "x= & sort=a or -a & a__gt|gte=", "x= & [sort=a or -a] & [a__gt|gte=]"
    assert changes({"t": [before]}, {"t": [now]}) == [Change("t", before, "widened", now)]


def test_what_must_be_given_now_is_one() -> None:
    before, now = "x= & [sort=a or -a]", "x= & sort=a or -a"
    assert changes({"t": [before]}, {"t": [now]}) == [Change("t", before, "taken away", now)]


def test_another_order_is_a_loss_and_a_gain() -> None:
    found = changes({"t": ["x= & sort=a or -a"]}, {"t": ["x= & sort=b or -b", "x="]})
    assert [(change.kind, change.question) for change in found] == [
        ("taken away", "x= & sort=a or -a"),
        ("added", "x="),
        ("added", "x= & sort=b or -b"),
    ]
