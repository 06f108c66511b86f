"""Whom a statement holds up, in words."""

import pytest

from service.migrations.blocking import Blocks, Effect, together


@pytest.mark.parametrize(
    ("effect", "told"),
    [
        (Effect(), "blocks nobody"),
        (Effect(note="new table: nobody waits"), "new table: nobody waits"),
        (Effect(Blocks.NOBODY, ("books",)), "blocks neither reads nor writes of books"),
        (Effect(Blocks.ROWS, ("books",)), "locks the rows of books that it changes until the migration is committed"),
        (Effect(Blocks.WRITES, ("books",), "builds"), "blocks writes of books while it builds"),
        (Effect(Blocks.WRITES, ("books", "authors")), "blocks writes of books and authors for a moment"),
        (
            Effect(Blocks.EVERYTHING, ("books",), note="its rows are lost"),
            "blocks everything on books for a moment; its rows are lost",
        ),
    ],
)
def test_told(effect: Effect, told: str) -> None:
    assert str(effect) == told


def test_what_is_not_known_is_said_not_to_be() -> None:
    assert "isn't known" in str(Effect(Blocks.UNKNOWN))


def test_the_worst_of_several_decides() -> None:
    moment = Effect(Blocks.EVERYTHING, ("books",), note="its values are lost")
    long = Effect(Blocks.EVERYTHING, ("books",), "reads every row")
    other = Effect(Blocks.WRITES, ("books", "authors"), "builds")
    assert together([moment, other, long]) == Effect(Blocks.EVERYTHING, ("books",), "reads every row", "its values are lost")
    assert together([other]) == other
