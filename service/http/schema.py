"""Shapes: what a client sends and gets back, in the wire format of `docs/reference/types.md`."""

from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, create_model
from pydantic.fields import FieldInfo

S = TypeVar("S", bound="Schema")


class Schema(BaseModel):
    """A shape. Members that it doesn't name are refused."""

    model_config = ConfigDict(
        extra="forbid",
        from_attributes=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        ser_json_timedelta="float",
    )


def by_database() -> Any:
    """The default of a member that may be left out, because the database has one for its column."""
    return Field(default_factory=lambda: None)


def partial(shape: type[S]) -> type[S]:
    """The same shape with no member required: what a change may name."""
    fields: dict[str, Any] = {
        name: (_annotation(field), Field(default_factory=lambda: None, description=field.description))
        for name, field in shape.model_fields.items()
    }
    return create_model(f"{shape.__name__}Change", __base__=shape, __doc__="What may be changed; what isn't named stays.", **fields)


def _annotation(field: FieldInfo) -> Any:
    """A member's type with its constraints."""
    return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation


def is_plain(shape: type[BaseModel]) -> bool:
    """Whether a shape only names values: no validator, serialiser or computed member, and no shape inside."""
    made = shape.__pydantic_decorators__
    hooks = (made.validators, made.field_validators, made.root_validators, made.field_serializers, made.model_serializers)
    if any((*hooks, made.model_validators, made.computed_fields)):
        return False
    return not any(_is_made(field) for field in shape.model_fields.values())


def _is_made(field: FieldInfo) -> bool:
    functional = any(type(part).__module__.startswith("pydantic.functional") for part in field.metadata)
    return functional or "BaseModel" in {base.__name__ for base in getattr(field.annotation, "__mro__", ())} or bool(field.alias)
