"""A search: a question that no order narrows, answered from a GIN index, or refused where too much matches. A class of its own.

A search stands alone: no other filter, no `sort`. It may find so many rows and no more, so all of them can be put into the order of
the primary key. What gives the index nothing to look for is refused before it would read the whole of it.
"""

import json
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from service.contract.question import Question, Sought

LETTERS = 3
PATTERN_MOST, OBJECT_MOST, DEEPEST = 200, 2_000, 20


@dataclass(frozen=True, slots=True)
class SearchPath:
    """One GIN index as the search it serves.

    Attributes:
        name: the index's name in the database.
        operator: `icontains` for text, folded; `has` for JSON.
        key: what is searched: `title__folded`, `attributes`.
    """

    name: str
    operator: str
    key: str


def alone(question: Question) -> bool:
    """Whether a question is one search and nothing else."""
    return question == Question(searches=question.searches) and len(question.searches) == 1


def serves(path: SearchPath, sought: Sought) -> bool:
    """Whether a path finds what is sought."""
    return (path.key, path.operator) == (sought.name, sought.operator)


def sought(path: SearchPath, text: str) -> Sought:
    """A text, or a JSON object as text, to look for along a path.

    Raises:
        ValueError: the index has nothing to look for, or it is too large.
    """
    return Sought(path.key, path.operator, described(text) if path.operator == "has" else pattern(text))


def pattern(text: str) -> str:
    """A text to look for in others.

    Raises:
        ValueError: it has no trigram, which is what the index keeps; or it is too long.
    """
    if len(text) > PATTERN_MOST:
        raise ValueError(f"a search may have {PATTERN_MOST} characters, this has {len(text)}")
    if not any(word and len(list(run)) >= LETTERS for word, run in groupby(text, _in_a_word)):
        raise ValueError(f"a search needs {LETTERS} letters or digits in a row; write more of a word")
    return text


def _in_a_word(character: str) -> bool:
    return character.isalpha() or character.isdecimal()


def described(text: str) -> str:
    """A JSON object that others are to contain, as it was written: numbers keep their digits.

    Raises:
        ValueError: it is none, holds no value that the index could look for, or is too large.
    """
    if len(text) > OBJECT_MOST:
        raise ValueError(f"a search may have {OBJECT_MOST} characters, this has {len(text)}")
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if type(found) is not dict:
        raise ValueError('expected a JSON object, as {"binding": "cloth"}')
    if not _values(found):
        raise ValueError('there is nothing to look for: write a member with a value, as {"binding": "cloth"}')
    return text


def _values(found: Any) -> int:
    """How many values stand in JSON, without empty objects and lists. Walked without recursion: a client chooses how deep it is.

    Raises:
        ValueError: it is nested too deeply.
    """
    left, count = [(found, 1)], 0
    while left:
        part, depth = left.pop()
        if depth > DEEPEST:
            raise ValueError(f"it is nested more than {DEEPEST} levels deep")
        parts = part.values() if isinstance(part, dict) else part if isinstance(part, list) else None
        count += parts is None
        left += [(one, depth + 1) for one in parts or ()]
    return count
