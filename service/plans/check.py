"""Whether a plan keeps the promise: its index, entered with everything that was asked, and nothing sorted or filtered after.

"No Seq Scan" and "has an Index Cond" prove nothing: a leftover filter passes the first, a walk through the whole index the second.
"""

from collections.abc import Iterator

from service.contract.choose import Choice
from service.contract.question import FOLDED, Question
from service.plans.explain import Node

SCANS = {"Index Scan", "Index Only Scan"}
BITMAPS = {"Bitmap Heap Scan", "Bitmap Index Scan"}
QUIET = {"Limit", "Append", "Result", "Subquery Scan"}


def broken(plan: Node, question: Question, choice: Choice) -> list[str]:
    """What is wrong with the plan of a question, as sentences; empty where it is as promised.

    A lookup of several values may collect them by bitmap and sort them: there are at most as many rows as values.
    """
    many = choice.kind == "many"
    nodes = list(plan.walk())
    scans = [node for node in nodes if node.kind in SCANS or (many and node.kind == "Bitmap Index Scan")]
    allowed = QUIET | SCANS | (BITMAPS | {"Sort"} if many else set())
    found = [f"a {node.kind} on {node.told.get('Relation Name', 'rows')}" for node in nodes if node.kind not in allowed]
    found += [f"a filter after reading: {text}" for node in nodes for text in node.filters if not _is_constant(node)]
    if not scans and not any(_is_constant(node) for node in nodes):
        found.append(f"no scan of {choice.path.name}")
    for node in scans:
        found += _of_scan(node, question, choice)
    return found


def _of_scan(node: Node, question: Question, choice: Choice) -> Iterator[str]:
    if node.index != choice.path.name:
        yield f"a scan of {node.index} where {choice.path.name} was promised"
    for name in _expected(question, choice):
        if name.removesuffix(FOLDED) not in node.condition:
            yield f"{name} isn't part of the index condition {node.condition or '(none)'}"


def _expected(question: Question, choice: Choice) -> set[str]:
    """Names that the index must be entered with."""
    asked = {*question.equals, *question.among, *(found.name for found in question.ranges)}
    return asked - choice.path.fixed


def _is_constant(node: Node) -> bool:
    """A result that PostgreSQL knows without reading: a NOT NULL column asked to be NULL."""
    return node.kind == "Result" and not node.told.get("Plans")
