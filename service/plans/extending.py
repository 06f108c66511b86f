"""An index that is there already, made longer: it then serves what it served, and what was wished for as well.

Longer keys change the order of what follows the shorter ones, so this is seldom free of loss: an index that ends in the primary key
has no room. It works for one that was no total order, or that only a foreign key needed.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from service.contract.choose import choose
from service.contract.path import Contract, Path
from service.contract.probing import lost
from service.contract.question import Question


def extended(whole: Contract, declared: Collection[str], path: Path, questions: Sequence[Question]) -> Path | None:
    """An index in the place of a new one: one that is there, longer, under its own name.

    Args:
        whole: every path of the table.
        declared: names of the indexes that may be changed.
        path: the new index.
        questions: what it is to serve.

    Returns:
        The longer one; None where none can be had without taking a served question away.
    """
    for one in sorted(whole.paths, key=lambda one: (-len(one.keys), one.name)):
        if one.name in declared and not one.unique and one.predicate == path.predicate:
            for longer in _longer(one, path, questions):
                changed = replace(whole, paths=(longer,))
                if all(choose(changed, question) for question in questions) and not lost(whole, one, longer):
                    return longer
    return None


def _longer(one: Path, path: Path, questions: Sequence[Question]) -> Iterator[Path]:
    """The new index with its keys in the order of the old one's, where its questions leave that open."""
    if path.unique:
        return
    lead = min((len(question.equals.keys() & path.names) for question in questions), default=len(path.keys))
    names = [key.name for key in one.keys]
    free, rest = path.keys[:lead], path.keys[lead:]
    keys = (*sorted(free, key=lambda key: names.index(key.name) if key.name in names else len(names)), *rest)
    if [key.name for key in keys[: len(names)]] == names:
        yield Path(one.name, keys, include=one.include - {key.name for key in keys}, predicate=one.predicate)
