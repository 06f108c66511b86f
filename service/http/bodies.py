"""What a client sent becomes values for the database: each held against its column first, so that a refusal names the member."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from sqlalchemy.types import TypeEngine
from starlette.types import Message, Receive

from service.db import Model, surface
from service.db.fitting import misfit
from service.errors import InvalidBody
from service.http.schema import Schema

TOLD = 20


async def taken(receive: Receive) -> tuple[bytes | None, Receive]:
    """The body of a request, None where its client left before it was there; and what gives its messages once more."""
    messages: list[Message] = []
    while not messages or messages[-1].get("more_body"):
        messages.append(await receive())

    given = iter(messages)

    async def again() -> Message:
        return next(given, None) or await receive()

    whole = messages[-1]["type"] == "http.request"
    return (b"".join(message.get("body", b"") for message in messages) if whole else None), again


def values_of(model: type[Model], body: Schema) -> dict[str, Any]:
    """The members that a client sent.

    Raises:
        InvalidBody: values that don't fit their columns, as `errors`.
    """
    values = body.model_dump(exclude_unset=True)
    refuse([{"member": name, "message": wrong} for name, wrong in _misfits(model, values)])
    return values


def rows_of(model: type[Model], bodies: Sequence[Schema]) -> list[dict[str, Any]]:
    """The members of each row of a batch.

    Raises:
        InvalidBody: values that don't fit their columns, of all rows, as `errors`.
    """
    rows = [body.model_dump(exclude_unset=True) for body in bodies]
    refuse(
        [
            {"member": f"data.{number}.{name}", "message": wrong}
            for number, values in enumerate(rows)
            for name, wrong in _misfits(model, values)
        ]
    )
    return rows


def refuse(errors: list[dict[str, str]]) -> None:
    """Refuse a body for what is wrong with it, if anything is.

    Raises:
        InvalidBody: something is.
    """
    if errors:
        raise InvalidBody("; ".join(f"{error['member']}: {error['message']}" for error in errors[:TOLD]), errors=errors)


def _misfits(model: type[Model], values: dict[str, Any]) -> list[tuple[str, str]]:
    types = _types(model)
    checked = [(name, misfit(types[name], value)) for name, value in values.items() if name in types]
    return [(name, wrong) for name, wrong in checked if wrong]


@cache
def _types(model: type[Model]) -> Mapping[str, TypeEngine[Any]]:
    """Name -> column type, of what clients may name."""
    return {name: expression.type for name, expression in surface(model).expressions.items()}
