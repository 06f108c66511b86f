"""Whether the plan of a search keeps the promise: its GIN index, entered with what is sought, capped; then rows by their keys.

Two parts read the table. The search: a limit, right above a bitmap of the GIN index; what the bitmap can't tell is rechecked. The
page: the primary key's index, entered with the keys that were found. A sort has the found keys below it, never rows of the table.
"""

from collections.abc import Collection, Iterator

from service.plans.explain import Node

ABOVE = {"Limit", "Sort", "Aggregate", "Result", "CTE Scan", "Subquery Scan"}
BITMAPS = {"Bitmap Heap Scan", "Bitmap Index Scan"}
ENTERED = ("~~", "@>")
KEYED = "Index Scan"


def broken_search(plan: Node, index: str, twins: Collection[str] = ()) -> list[str]:
    """What is wrong with the plan of a search, as sentences; empty where it is as promised.

    Args:
        plan: the whole of it.
        index: the GIN index that was promised.
        twins: other indexes that are defined as that one is.
    """
    nodes = list(plan.walk())
    strange = [node for node in nodes if node.kind not in ABOVE | BITMAPS | {KEYED, "Index Only Scan"}]
    found = [f"{node.called} on {node.told.get('Relation Name', 'rows')}" for node in strange]
    bitmaps = [node for node in nodes if node.kind == "Bitmap Index Scan"]
    if not bitmaps:
        found.append(f"no scan of {index}")
    capped = [node.below[0] for node in nodes if node.kind == "Limit"]
    for node in nodes:
        found += _of_bitmap(node, index, twins) if node.kind in BITMAPS else _of_other(node)
        if node.kind == "Bitmap Heap Scan" and node not in capped:
            found.append("no limit right above the search")
    return found


def _of_bitmap(node: Node, index: str, twins: Collection[str]) -> Iterator[str]:
    yield from (f"a filter after reading: {text}" for text in node.filters)
    if node.kind == "Bitmap Index Scan":
        if node.index not in {index, *twins}:
            yield f"a scan of {node.index} where {index} was promised"
        if not any(operator in node.condition for operator in ENTERED):
            yield f"what is sought isn't part of the index condition {node.condition or '(none)'}"


def _of_other(node: Node) -> Iterator[str]:
    if node.kind in {KEYED, "Index Only Scan"}:
        if "= ANY" not in node.condition:
            yield f"a walk of {node.index}: it isn't entered with the keys that were found"
        yield from (f"a filter after reading: {text}" for text in node.filters)
    if node.kind == "Sort" and any(below.kind != "CTE Scan" for below in node.below):
        yield "a Sort of more than the keys that were found"
