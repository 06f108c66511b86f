"""A row's version, and what a write asks of it."""

import datetime

import pytest
from sqlalchemy import select, text

from service.db.bound import Bound
from service.db.version import WHICHEVER, Match, Version, version_of
from service.errors import PreconditionFailed
from service.tables.authors import Author
from tests.factories.authors import AuthorFactory

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
FIRST, SECOND = Version(1, NOW), Version(2, NOW)
MATCHES = [
    (WHICHEVER, True, True),
    (Match(any_of=(FIRST,)), True, False),
    (Match(any_of=(FIRST, SECOND)), True, True),
    (Match(any_of=()), False, False),
    (Match(any_of=(Version(1, NOW + datetime.timedelta(microseconds=1)),)), False, False),
    (Match(none_of=(SECOND,)), True, False),
    (Match(any_of=(FIRST,), none_of=(FIRST,)), False, False),
    (Match(absent=True), False, False),
]


@pytest.mark.parametrize(("match", "first", "second"), MATCHES)
async def test_rows_and_statements_are_held_against_it_alike(database: Bound, match: Match, first: bool, second: bool) -> None:
    author = await AuthorFactory.create()
    for version, fits in ((FIRST, first), (SECOND, second)):
        async with database.writing() as unit:
            await unit.session.execute(text("ALTER TABLE authors DISABLE TRIGGER USER"))
            values = {"id": author.id, "number": version.number, "at": version.changed_at}
            await unit.session.execute(text("UPDATE authors SET version = :number, updated_at = :at WHERE id = :id"), values)
            row = await unit.session.scalar(select(Author).where(Author.id == author.id).execution_options(populate_existing=True))
            assert row
            assert version_of(row) == version
            found = await unit.session.scalar(select(Author.id).where(Author.id == author.id, *match.conditions(Author)))
        assert (found is not None) == fits
        if fits:
            match.check(version)
        else:
            with pytest.raises(PreconditionFailed, match="Nothing was written"):
                match.check(version)


def test_one_version_is_what_a_statement_can_ask_for() -> None:
    assert [match.one for match, *_ in MATCHES] == [None, FIRST, None, None, MATCHES[4][0].any_of[0], None, None, None]  # type: ignore[index]
    assert [bool(match) for match, *_ in MATCHES] == [False, *[True] * 7]
