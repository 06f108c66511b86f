"""The wire format of each column type, written by PostgreSQL itself: what `wire.py` says in Python, in SQL.

The bytes are the same, but for floats and JSON, which are equal as values: PostgreSQL writes 1 where Python writes 1.0, and a space
after each comma of a jsonb. A type that isn't here, an array of one, or an enum whose names aren't its values, has no renderer:
rows that show it are written in Python.
"""

import operator
from collections.abc import Callable, Collection, Mapping
from functools import reduce
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, extract, func, literal_column, types
from sqlalchemy.dialects import postgresql

Expression = ColumnElement[Any]
Rendered = ColumnElement[str]
NULL = "null"
CLOCK = "HH24:MI:SS.US"
MOMENT = f'YYYY-MM-DD"T"{CLOCK}'
DAY = 86_400
SECONDS = {"year": 365 * DAY, "month": 30 * DAY, "day": DAY, "hour": 3600, "minute": 60, "second": 1}
"""How long the parts of an interval are, as the driver counts them."""


def rendered(expression: Expression) -> Rendered | None:
    """What writes a value as JSON; SQL's NULL where it is NULL.

    Returns:
        An expression that is JSON as text; None where PostgreSQL can't write the type as the wire format has it.
    """
    kind = expression.type
    if isinstance(kind, types.ARRAY):
        whole = kind.item_type is not None and _as_json_has_it(kind.item_type)
        return _json(expression) if whole else None
    if isinstance(kind, types.Enum):
        return _json(expression) if _is_named_by_value(kind) else None
    if isinstance(kind, types.Uuid | types.JSON) and not _is_plain(kind):
        return None
    if isinstance(kind, types.Time | types.Numeric) and not _is_usual(kind):
        return None
    return next((write(expression) for of, write in RENDERERS.items() if isinstance(kind, of)), None)


def row(columns: Mapping[str, Expression], nullable: Collection[str]) -> Rendered | None:
    """What writes a row as a JSON object.

    Args:
        columns: name -> what it means, in the order in which they are to stand there.
        nullable: the names whose values may be NULL. To ask costs a microsecond for each value.

    Returns:
        None where a column has no renderer.
    """
    parts: list[Any] = []
    for name, expression in columns.items():
        value = rendered(expression)
        if value is None:
            return None
        asks = name in nullable or isinstance(expression.type, types.Numeric | types.Float)  # of which some have no JSON
        parts += [constant(("," if parts else "{") + f'"{name}":'), func.coalesce(value, constant(NULL)) if asks else value]
    return func.concat(*parts, constant("}"), type_=Text()) if parts else None


def is_respelt(kind: Any) -> bool:
    """Whether equal values of a type may be other bytes here than in Python."""
    return isinstance(kind, types.JSON | types.Float)


def cell(expression: Expression) -> Rendered | None:
    """What writes a value as text, as a CSV file has it: a string of JSON without its quotation marks, all else as in JSON.

    Returns:
        An expression that is NULL where JSON has null; None where PostgreSQL can't write the type as the wire format has it.
    """
    kind, value = expression.type, rendered(expression)
    if value is None:
        return None
    if isinstance(kind, types.String):
        return cast(expression, Text())
    if isinstance(kind, types.JSON | types.ARRAY):
        return func.nullif(cast(value, Text()), constant(NULL), type_=Text())
    return func.btrim(cast(value, Text()), constant('"'), type_=Text())


def _is_usual(kind: Any) -> bool:
    """Whether times have no zone, and decimals are decimals."""
    return not kind.timezone if isinstance(kind, types.Time) else isinstance(kind, types.Float) or bool(kind.asdecimal)


def _is_plain(kind: Any) -> bool:
    """Whether a jsonb or a UUID: json keeps what was sent to it, white space and doubled members too."""
    return isinstance(kind, types.Uuid | postgresql.JSONB)


def _is_named_by_value(kind: types.Enum) -> bool:
    """Whether what PostgreSQL stores of an enum is what clients see."""
    return kind.enum_class is None or all(str(member.value) == member.name for member in kind.enum_class)


def _as_json_has_it(kind: Any) -> bool:
    """Whether PostgreSQL's own JSON of a type is the wire format's."""
    if isinstance(kind, types.Enum):
        return _is_named_by_value(kind)
    return isinstance(kind, types.Integer | types.String | types.Boolean | types.Uuid)


def _json(expression: Expression) -> Rendered:
    return func.to_json(expression, type_=postgresql.JSON())


def _plain(expression: Expression) -> Rendered:
    return cast(expression, Text())


def _float(expression: Expression) -> Rendered:
    """A real is widened first, as the driver does it."""
    wide: Expression = cast(expression, types.Double())
    return case((_finite(wide), cast(wide, Text())))


def _decimal(expression: Expression) -> Rendered:
    return case((_finite(expression), _quoted(cast(expression, Text()))))


def _finite(expression: Expression) -> ColumnElement[bool]:
    return expression.not_in([constant(value) for value in ("NaN", "infinity", "-infinity")])


def _date(expression: Expression) -> Rendered:
    return _ends(expression, '"0001-01-01"', '"9999-12-31"', _json(expression))


def _naive(expression: Expression) -> Rendered:
    return _ends(expression, '"0001-01-01T00:00:00"', '"9999-12-31T23:59:59.999999"', _clocked(expression, MOMENT, ""))


def _aware(expression: Expression) -> Rendered:
    there = func.timezone(constant("UTC"), expression)
    return _ends(expression, '"0001-01-01T00:00:00Z"', '"9999-12-31T23:59:59.999999Z"', _clocked(there, MOMENT, "Z"))


def _moment(expression: Expression) -> Rendered:
    return _aware(expression) if getattr(expression.type, "timezone", False) else _naive(expression)


def _time(expression: Expression) -> Rendered:
    return _clocked(expression, CLOCK, "")


def _clocked(expression: Expression, pattern: str, zone: str) -> Rendered:
    """A time of day as Python writes it: with six digits after the second, or with none."""
    end = zone + '"'
    return func.replace(func.to_char(expression, constant(f'"\\""{pattern}"{zone}\\""')), constant(f".000000{end}"), constant(end))


def _ends(expression: Expression, first: str, last: str, between: Rendered) -> Rendered:
    """The driver keeps the first and the last moment that Python knows as infinity."""
    return case(
        (expression == constant("-infinity"), constant(first)),
        (expression == constant("infinity"), constant(last)),
        else_=between,
    )


def _bytes(expression: Expression) -> Rendered:
    return _quoted(func.translate(func.encode(expression, constant("base64")), constant("+/\n"), constant("-_")))


def _interval(expression: Expression) -> Rendered:
    """Seconds; of years and months as many as the driver takes them for."""
    parts = [extract(part, expression) * _number(seconds) for part, seconds in SECONDS.items()]
    return cast(cast(reduce(operator.add, parts), types.Double()), Text())


def _quoted(text: Rendered) -> Rendered:
    return constant('"').concat(text).concat(constant('"'))


def constant(value: str) -> ColumnElement[str]:
    """Text that stands in the statement itself."""
    return literal_column("'" + value.replace("'", "''") + "'", Text())


def _number(value: int) -> ColumnElement[int]:
    return literal_column(str(value), types.Integer())


RENDERERS: dict[Any, Callable[[Expression], Rendered]] = {
    types.Integer: _plain,
    types.String: _json,
    types.Boolean: _plain,
    types.Float: _float,
    types.Numeric: _decimal,
    types.Date: _date,
    types.DateTime: _moment,
    types.Time: _time,
    types.Uuid: _json,
    types.JSON: _plain,
    types.LargeBinary: _bytes,
    (types.Interval, postgresql.INTERVAL): _interval,
}
