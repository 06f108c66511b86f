"""An index is judged by what it is, not by what it is called."""

import pytest

from service.db.judging import DROPPING, REASONS, Found, Withdrawn, judged

WORDS = "btree (author_id, id)"
WANTED = Found("ix", unique=False, words=WORDS)


@pytest.mark.parametrize(
    ("standing", "reason"),
    [
        ([Found("ix", unique=False, words=WORDS)], None),
        ([Found("renamed", unique=False, words=WORDS)], None),
        ([Found("ix", unique=True, words=WORDS)], None),
        ([Found("ix", unique=False, words=f"{WORDS} WITH (fillfactor='70')")], None),
        ([Found("ix", unique=False, words=WORDS, state="invalid"), Found("ix_ccnew", unique=False, words=WORDS)], None),
        ([Found(f"{DROPPING}1", unique=False, words=WORDS), Found("ix", unique=False, words=WORDS)], None),
        ([], "missing"),
        ([Found("other", unique=False, words="btree (id)")], "missing"),
        ([Found("ix", unique=False, words="btree (id)")], "different"),
        ([Found("ix", unique=False, words=f"{WORDS} WHERE (author_id = 1)")], "different"),
        ([Found("ix", unique=False, words=WORDS, state="invalid")], "invalid"),
        ([Found("ix", unique=False, words=WORDS, state="young")], "young"),
        ([Found(f"{DROPPING}1", unique=False, words=WORDS)], "dropping"),
        ([Found(f"{DROPPING}1", unique=False, words=WORDS), Found("ix", unique=False, words=WORDS, state="invalid")], "invalid"),
        ([Found(f"{DROPPING}1", unique=False, words=WORDS, state="invalid")], "dropping"),
    ],
)
def test_what_serves_and_what_does_not(standing: list[Found], reason: str | None) -> None:
    assert judged("ix", WANTED, standing) == reason


def test_one_that_is_not_unique_does_not_stand_for_one_that_is() -> None:
    assert judged("ix", Found("", unique=True, words=WORDS), [WANTED]) == "different"


def test_what_nobody_recorded_is_proven_by_nothing() -> None:
    assert judged("ix", None, [WANTED]) == "unrecorded"


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("btree (id) WITH (fillfactor='70')", "btree (id)"),
        ("gin (a) WITH (fastupdate=off, gin_pending_list_limit='64')", "gin (a)"),
        ("btree (id) INCLUDE (a) NULLS NOT DISTINCT WITH (fillfactor='70') WHERE (a IS NULL)",
         "btree (id) INCLUDE (a) NULLS NOT DISTINCT WHERE (a IS NULL)"),
    ],
)  # fmt: skip
def test_how_it_is_stored_does_not_count(stored: str, plain: str) -> None:
    assert Found("ix", unique=False, words=stored).serves(Found("", unique=False, words=plain))
    assert Found("ix", unique=False, words=plain).serves(Found("", unique=False, words=stored))


def test_a_text_that_looks_like_storage_does_count() -> None:
    tricky = "btree (((a || ' WITH (b=c)'::text)))"
    assert not Found("ix", unique=False, words=tricky).serves(Found("", unique=False, words="btree (((a || ''::text)))"))


@pytest.mark.parametrize("reason", REASONS)
def test_each_reason_says_what_is_so_and_what_to_do(reason: str) -> None:
    told = str(Withdrawn("books", "ix", reason))
    assert told.startswith("ix of books is withdrawn: ")
    assert told.endswith(".")
    assert Withdrawn("books", "ix", reason).remedy
