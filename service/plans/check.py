"""Whether a plan keeps the promise: its index, entered with everything that was asked, and nothing sorted or filtered after.

"No Seq Scan" and "has an Index Cond" prove nothing: a leftover filter passes the first, a walk through the whole index the second.
"""

from collections.abc import Collection, Iterator

from service.contract.choose import Choice
from service.contract.question import Question
from service.plans.condition import Part, parts
from service.plans.explain import Node
from service.plans.searching import broken_search

SCANS = {"Index Scan", "Index Only Scan"}
BITMAPS = {"Bitmap Heap Scan", "Bitmap Index Scan"}
QUIET = {"Limit", "Append", "Result", "Subquery Scan"}


def broken(plan: Node, question: Question, choice: Choice, twins: Collection[str] = ()) -> list[str]:
    """What is wrong with the plan of a question, as sentences; empty where it is as promised.

    Args:
        plan: the whole of it.
        question: what was asked.
        choice: the path that was promised.
        twins: other indexes that are defined as that path is: PostgreSQL may take any of them.

    A lookup may collect its rows by bitmap, and sort those of several values: there are at most as many rows as values, though
    PostgreSQL doesn't infer it from a unique index that is partial or has several keys.
    """
    if choice.kind == "search":
        return broken_search(plan, choice.path.name, twins)
    many = choice.kind == "many"
    bitmaps = BITMAPS if choice.kind != "list" else set()
    nodes = list(plan.walk())
    scans = [node for node in nodes if node.kind in SCANS or node.kind in bitmaps & {"Bitmap Index Scan"}]
    allowed = QUIET | SCANS | bitmaps | ({"Sort"} if many else set())
    strange = [node for node in nodes if node.kind not in allowed and not _is_constant(node)]
    found = [f"{node.called} on {node.told.get('Relation Name', 'rows')}" for node in strange]
    found += [f"a filter after reading: {text}" for node in nodes for text in node.filters if not _is_constant(node)]
    if not many and not _is_constant(plan) and plan.kind != "Limit":
        found.append("no limit around all of it")
    if not scans and not any(_is_constant(node) for node in nodes):
        found.append(f"no scan of {choice.path.name}")
    for node in scans:
        found += _of_scan(node, question, choice, twins)
    return found


def _of_scan(node: Node, question: Question, choice: Choice, twins: Collection[str]) -> Iterator[str]:
    names = [key.name for key in choice.keys]
    if node.index not in {choice.path.name, *twins}:
        yield f"a scan of {node.index} where {choice.path.name} was promised"
    conditions = parts(node.condition, names)
    held = {name for part in conditions for name in part.names}
    for name in sorted(_expected(question, choice) - held):
        yield f"{name} isn't part of the index condition {node.condition or '(none)'}"
    for part in _behind(conditions, names):
        yield f"{part.text} doesn't narrow what is read: the keys before it aren't fixed"
    for part in _doubled(conditions):
        yield f"{part.text} has another bound on the same side: the index is entered at one of them, maybe far from the page"


def _expected(question: Question, choice: Choice) -> set[str]:
    """Names that the index must be entered with."""
    asked = {*question.equals, *question.among, *(found.name for found in question.ranges)}
    return asked - choice.path.fixed


def _behind(conditions: list[Part], names: list[str]) -> Iterator[Part]:
    """Comparisons that are checked entry by entry: all but those of the leading pinned keys, and of the key after them."""
    pinned = {part.names[0] for part in conditions if part.pins}
    lead = next((at for at, name in enumerate(names) if name not in pinned), len(names))
    for part in conditions:
        first_free = part.names == tuple(names[lead : lead + len(part.names)]) and not part.pins
        if not first_free and not (len(part.names) == 1 and part.names[0] in names[:lead]):
            yield part


def _doubled(conditions: list[Part]) -> Iterator[Part]:
    """Row comparisons that have a rival: PostgreSQL merges two bounds of one column, but not with those of a row."""
    for part in conditions:
        rivals = [other for other in conditions if other is not part and other.way == part.way and other.names[0] == part.names[0]]
        if len(part.names) > 1 and rivals:
            yield part


def _is_constant(node: Node) -> bool:
    """Nothing, as PostgreSQL knows without reading: a NOT NULL column asked to be NULL. It may sort that nothing."""
    if node.kind in {"Limit", "Sort"}:
        return all(map(_is_constant, node.below))
    return node.kind == "Result" and node.filters == ["false"]
