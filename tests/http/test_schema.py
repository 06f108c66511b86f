"""Shapes: strict about names, and all optional for a change."""

import pytest
from pydantic import BaseModel, Field, ValidationError, computed_field, field_validator

from service.http import Schema, by_database
from service.http.schema import is_plain, partial


class Write(Schema):
    """What a client sends."""

    title: str = Field(min_length=2, description="On the cover.")
    pages: int | None = None
    source: str = by_database()


class Checked(Write):
    """A shape that changes what it is given."""

    @field_validator("title")
    @classmethod
    def _upper(cls, title: str) -> str:
        return title.upper()


class Computed(Schema):
    """A shape with a member of its own."""

    @computed_field  # type: ignore[prop-decorator]
    @property
    def one(self) -> int:
        """It is no column."""
        return 1


class Inside(Schema):
    """A shape with a shape inside."""

    inner: Write


def test_what_wasnt_sent_isnt_there() -> None:
    assert Write(title="It").model_dump(exclude_unset=True) == {"title": "It"}
    assert partial(Write).model_validate({}).model_dump(exclude_unset=True) == {}


@pytest.mark.parametrize("sent", [{"title": None}, {"title": "x"}, {"pages": "many"}, {"source": None}, {"colour": "red"}])
def test_a_change_is_held_to_the_same_rules(sent: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        partial(Write).model_validate(sent)


def test_a_change_keeps_null_where_null_may_be() -> None:
    assert partial(Write).model_validate({"pages": None}).model_dump(exclude_unset=True) == {"pages": None}


def test_a_change_keeps_the_shapes_own_validators() -> None:
    assert partial(Checked).model_validate({"title": "it"}).model_dump(exclude_unset=True) == {"title": "IT"}


def test_a_change_requires_nothing_and_tells_the_same() -> None:
    schema = partial(Write).model_json_schema()
    assert "required" not in schema
    assert schema["properties"]["title"]["description"] == "On the cover."
    assert schema["properties"]["title"]["minLength"] == 2


@pytest.mark.parametrize(("shape", "plain"), [(Write, True), (Checked, False), (Computed, False), (Inside, False)])
def test_a_plain_shape_only_names_values(shape: type[BaseModel], plain: bool) -> None:
    assert is_plain(shape) is plain
