"""The line by which a model declares an index, as it stands in its class body: what a message shows to whoever may mend it."""

import ast
import inspect
import re
import textwrap
from functools import cache

from service.db.model import Model

KINDS = ("Index", "UniqueConstraint")


@cache
def line_of(model: type[Model], name: str) -> str | None:
    """The line that declares an index or unique constraint of a model.

    Args:
        model: its class.
        name: what the model calls the index.

    Returns:
        `Index("ix_books_newest", published_year.desc(), id)`, on one line; None for a primary key, or where no source is at hand.
    """
    try:
        source = textwrap.dedent(inspect.getsource(model))
        calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    except (OSError, TypeError, SyntaxError):
        return None
    found = (call for call in calls if _kind(call) in KINDS and name in map(_text, _arguments(call)))
    return next((_on_one_line(ast.get_source_segment(source, call) or "") for call in found), None)


def _on_one_line(source: str) -> str:
    joined = " ".join(source.split())
    return re.sub(r",? \)", ")", joined.replace("( ", "("))


def _kind(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _arguments(call: ast.Call) -> list[ast.expr]:
    """Where a declaration may name itself: an index does so first, a constraint by `name=`."""
    first = call.args[:1] if _kind(call) == KINDS[0] else []
    return [*first, *(keyword.value for keyword in call.keywords if keyword.arg == "name")]


def _text(argument: ast.expr) -> object:
    return argument.value if isinstance(argument, ast.Constant) else None
