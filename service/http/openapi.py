"""What OpenAPI is told of a table: typed parameters of what is served, and nothing else."""

from typing import Any, get_args

from pydantic import Field, create_model

from service.contract.question import FOLDED
from service.contract.served import Served, served
from service.db import Surface
from service.db.wire import Wire, wire
from service.http.asking import split
from service.http.schema import Schema
from service.http.showing import Showing
from service.jobs.lines import Formulas
from service.jobs.opening import Format

Parameter = dict[str, Any]
ETAGGED = {"headers": {"ETag": {"schema": {"type": "string"}, "description": "The state that it is in."}}}
UNCHANGED = {"description": "What you have is what there is. No body."} | ETAGGED
FORMULAS, FORMAT = "formulas", "format"
OF_PAGES = frozenset({"limit", "cursor", "count", "include"})
"""What a list takes, and a file of all its rows doesn't."""
GUARDED = "What is done to a cell that a spreadsheet would take for a formula: an apostrophe before it, or nothing."
SEARCHING = "A search (`__icontains`, `__has`) stands alone; its rows come by primary key. One that finds too many rows is refused."


class Answered(Schema):
    """One combination of filters and order that a table answers."""

    kind: str = Field(description="A list, at most one row, the rows with one of several values, or a search.")
    filters: list[str] = Field(description="Parameters that must be given.")
    ranges: list[str] = Field(description="Parameters of the one range that may be given besides.")
    ranged: bool = Field(description="Whether that range must be given.")
    sorts: list[str] = Field(description="Values that sort may have.")
    default: bool = Field(description="Whether sort may be left out.")
    index: str = Field(description="The index that answers it.")
    ready: bool = Field(description="Whether the database has an index that answers it; if not, it is refused for now.")


class Contract(Schema):
    """What a table answers."""

    table: str
    default_order: list[str]
    questions: list[Answered]


class Count(Schema):
    """How many rows a question has."""

    value: int
    exact: bool = Field(description="False where counting stopped, or the number is an estimate.")


def described(one: Served, ready: bool) -> dict[str, Any]:
    """A combination as `Answered` has it."""
    return {
        "kind": one.kind,
        "filters": list(one.filters),
        "ranges": list(one.ranges),
        "ranged": one.ranged,
        "sorts": list(one.sorts),
        "default": one.default,
        "index": one.path,
        "ready": ready,
    }


def row(showing: Showing) -> type[Schema]:
    """The shape of a row, with the relations that may be embedded."""
    if not showing.relations:
        return showing.shape
    relations: dict[str, Any] = {
        f"included_{name}": (relation.shape | None, Field(None, alias=name, description=f"Only with include={name}."))
        for name, relation in showing.relations.items()
    }
    return create_model(f"{showing.shape.__name__}Included", __base__=showing.shape, **relations)


def rows(showing: Showing) -> type[Schema]:
    """The shape of several rows."""
    return create_model(f"{showing.shape.__name__}Rows", __base__=Schema, data=(list[showing.shape], ...))  # type: ignore[name-defined]


def page(showing: Showing) -> type[Schema]:
    """The shape of a page."""
    members: dict[str, Any] = {
        "data": (list[row(showing)], ...),  # type: ignore[misc]
        "next": (str | None, Field(description="The cursor of the next page; null on the last one.")),
        "count": (Count | None, Field(None, description="Only with count=estimated or count=capped.")),
    }
    return create_model(f"{showing.shape.__name__}Page", __base__=Schema, **members)


def listed(of: Surface) -> str:
    """The description of a list route: every combination it serves."""
    lines = [f"- `{one}`" for one in served(of.contract)]
    order = ",".join(map(str, of.contract.default_order)) or of.primary
    return "\n".join(
        [
            "Serves these combinations of filters and order, each along one index; anything else is refused.",
            "",
            *lines,
            "",
            f"Without `sort`: `{order}`.",
            *(["", SEARCHING] if of.contract.searches else []),
        ]
    )


def key(of: Surface, form: Wire) -> Parameter:
    """The primary key in a path."""
    return {"name": of.primary, "in": "path", "required": True, "description": f"The row's {of.primary}.", "schema": form.schema()}


def if_match(demands: str | None) -> Parameter:
    """The header that says for which states of a row a write is meant."""
    description = "ETags of the row, with commas between: it is written only in one of these states. `*`: in whichever."
    return _header("If-Match", description, required=demands is not None)


def if_none_match() -> Parameter:
    """The header that says what a client has already."""
    return _header("If-None-Match", "ETags of what you have, with commas between. If it is that still, the answer is 304.")


def parameters(of: Surface, showing: Showing) -> list[Parameter]:
    """The query parameters of a list route."""
    offers = served(of.contract)
    names = dict.fromkeys(part.partition("=")[0] for one in offers for part in (*one.filters, *one.ranges))
    sorts = list(dict.fromkeys(sort for one in offers for sort in one.sorts))
    return [
        *(_filter(of, name) for name in names),
        _query("sort", {"type": "string", "enum": sorts}, "The order. Which one goes with which filters: see above."),
        _query("limit", {"type": "integer", "minimum": 1}, "Rows of a page, at the most."),
        _query("cursor", {"type": "string"}, "`next` of the page before, with the same filters and order."),
        _query(
            "count", {"type": "string", "enum": ["none", "estimated", "capped"], "default": "none"}, "Whether to count the rows."
        ),
        *members(showing),
        if_none_match(),
    ]


def exported(of: Surface, showing: Showing, form: Format | None) -> list[Parameter]:
    """The query parameters of a list as a file: those of its question, and which members are wanted.

    Args:
        of: what is asked.
        showing: how rows are shown.
        form: what the lines of the file are; None: a parameter says it.
    """
    asked = [one for one in parameters(of, showing) if one["name"] not in OF_PAGES and one["in"] == "query"]
    formulas = {"type": "string", "enum": list(get_args(Formulas)), "default": "quote"}
    forms = {"type": "string", "enum": list(get_args(Format)), "default": "csv"}
    return [
        *asked,
        *([_query(FORMAT, forms, "What the lines of the file are.")] if form is None else []),
        *([_query(FORMULAS, formulas, GUARDED)] if form != "ndjson" else []),
    ]


def members(showing: Showing) -> list[Parameter]:
    """The parameters that say what is wanted of a row."""
    fields = _query("fields", {"type": "string"}, f"Only these members, separated by commas: {', '.join(showing.members)}.")
    names = ", ".join(showing.relations)
    return [
        fields,
        *(
            [_query("include", {"type": "string", "enum": list(showing.relations)}, f"Relations to embed: {names}.")]
            if names
            else []
        ),
    ]


def _filter(of: Surface, parameter: str) -> Parameter:
    name, operator = split(of, parameter)
    form = wire(of.type_of(name))
    schema = {"type": "string"} if operator == "in" or form is None else form.schema()
    if operator is None and name in of.contract.nullable:
        schema = {"anyOf": [schema, {"type": "string", "enum": ["null"]}]}
    return _query(parameter, schema, _meaning(name.removesuffix(FOLDED), operator or ""))


def _meaning(name: str, operator: str) -> str:
    meanings = {
        "": f"{name} is this.",
        "gt": f"{name} is greater.",
        "gte": f"{name} is this or greater.",
        "lt": f"{name} is less.",
        "lte": f"{name} is this or less.",
        "in": f"{name} is one of these, separated by commas.",
        "startswith": f"{name} begins with this.",
        "iexact": f"{name} is this, whatever the case.",
        "istartswith": f"{name} begins with this, whatever the case.",
        "icontains": f"{name} contains this, whatever the case: three letters or digits in a row at least. It stands alone.",
        "has": f"{name} contains this JSON object. It stands alone.",
    }
    return meanings[operator]


def _header(name: str, description: str, *, required: bool = False) -> Parameter:
    return {"name": name, "in": "header", "required": required, "schema": {"type": "string"}, "description": description}


def _query(name: str, schema: dict[str, Any], description: str) -> Parameter:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}
