"""Whether all contestants answer the same rows: each one's answers are compared with what PostgreSQL says, before any is timed.

Values are compared, not bytes: a time may be spelled with `Z` or an offset, a decimal as a string or a number, and `attrs` may be
JSON or a text that holds it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from http.client import HTTPConnection
from typing import Any

from bench.ladder import data
from bench.ladder.contestants import OFFSET, W1, W2, W3, W4_LIST, W4_ROW, W4_SAME, Contestant
from bench.ladder.wrk import Asked
from service.errors import SetupError

Row = dict[str, Any]
BY_KEY = f"SELECT {data.COLUMNS} FROM {data.ITEMS} WHERE id = $1"
BY_CATEGORY = f"SELECT {data.COLUMNS} FROM {data.ITEMS} WHERE category = $1 ORDER BY id LIMIT {data.PAGE}"
BY_PLACE = f"SELECT {data.COLUMNS} FROM {data.ITEMS} ORDER BY id LIMIT {data.PAGE} OFFSET $1"
LONGEST_PAGE = 200


class Disagreement(SetupError):
    """A contestant answers something else than the rows that were asked for: its speed would mean nothing."""


def row_of(found: Mapping[str, Any]) -> Row:
    """A row's values as they are compared; what else an answer says is left out."""
    attrs = found["attrs"]
    at = found["created_at"]
    return {
        "id": found["id"],
        "category": found["category"],
        "name": found["name"],
        "price": Decimal(str(found["price"])),
        "created_at": at if isinstance(at, datetime) else datetime.fromisoformat(at),
        "attrs": json.loads(attrs) if isinstance(attrs, str) else attrs,
    }


def rows_of(answer: Any) -> list[Row]:
    """The rows of an answer: one, a list, or either under `data`.

    Raises:
        Disagreement: there are none in it.
    """
    found = answer.get("data", answer) if isinstance(answer, dict) else answer
    try:
        return [row_of(row) for row in (found if isinstance(found, list) else [found])]
    except (ArithmeticError, KeyError, TypeError, ValueError) as error:
        raise Disagreement(f"an answer is no row or list of rows: {answer!r:.500}") from error


def answered(port: int, asked: Asked, number: int) -> Any:
    """What a server answers.

    Raises:
        Disagreement: it is no success.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        return json.loads(_said(connection, asked, number)[0])
    finally:
        connection.close()


def tagged(port: int, asked: Asked) -> Asked:
    """The same, by who has it all: for each number the ETag is learned, and whether it is answered 304 with it.

    Raises:
        Disagreement: it isn't.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        numbers = range(asked.least, asked.greatest + 1)
        tags = tuple(_said(connection, asked, number)[1] for number in numbers)
        for number, tag in zip(numbers, tags, strict=True):
            _said(connection, replace(asked, headers={**(asked.headers or {}), "If-None-Match": tag}, status=304), number)
    finally:
        connection.close()
    return replace(asked, tags=tags)


def _said(connection: HTTPConnection, asked: Asked, number: int) -> tuple[str, str]:
    """The body and the ETag of an answer."""
    body = asked.body.replace("%d", str(number)) or None
    headers = {**(asked.headers or {}), **({"Content-Type": "application/json"} if body else {})}
    connection.request(asked.method, asked.path.replace("%d", str(number)), body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    if answer.status not in ({304} if asked.status == 304 else {asked.status, 200}):  # noqa: PLR2004  # as HTTP has it
        raise Disagreement(f"{asked.path} with {number} was answered {answer.status}: {text[:500]}")
    return text, answer.headers.get("ETag", "")


async def check(one: Contestant, port: int, url: str, headers: Mapping[str, str], rows: int) -> None:
    """Compare a contestant's answers with the database's.

    Raises:
        Disagreement: they differ; the message names both.
    """
    samples = {
        W1: (BY_KEY, (1, rows // 3, rows)),
        W2: (BY_CATEGORY, (1, data.categories(rows))),
        W4_ROW: (BY_KEY, (1, 1)),  # again, so that the second answer is one that was kept
        W4_LIST: (BY_CATEGORY, (1, 1)),
    }
    for workload in (each for each in one.workloads if each != W4_SAME):
        asked = one.asked(workload, headers, rows)
        if workload == W3:
            await _inserts(one, port, url, asked, rows)
            continue
        sql, numbers = samples[workload]
        for number in numbers:
            expected = [row_of(row) for row in await data.fetched(url, sql, number)]
            compare(f"{one.name}, {asked.path} with {number}", rows_of(answered(port, asked, number)), expected)


async def deep(one: Contestant, port: int, url: str, headers: Mapping[str, str], page: int) -> tuple[Asked, Asked]:
    """What asks for the first page of all items and what asks for a deep one; the latter's rows are compared.

    Raises:
        Disagreement: they are not those of that page.
    """
    before = (page - 1) * data.PAGE
    first = f"{one.prefix}/items?limit={data.PAGE}"
    if one.cursors:
        deeper = f"{first}&cursor={_walked(one, port, headers, before)}"
    else:
        told = one.listing.partition(OFFSET)[0] + OFFSET
        first, deeper = f"{first}{told}0", f"{first}{told}{before}"
    pages = Asked(first, headers=headers), Asked(deeper, headers=headers)
    for asked, place in zip(pages, (0, before), strict=True):
        expected = [row_of(row) for row in await data.fetched(url, BY_PLACE, place)]
        compare(f"{one.name}, {asked.path}", rows_of(answered(port, asked, 0)), expected)
    return pages


def compare(what: str, found: Sequence[Row], expected: Sequence[Row]) -> None:
    """Two lists of rows, in their order.

    Raises:
        Disagreement: they differ; with the first difference.
    """
    for place, (one, other) in enumerate(zip(found, expected, strict=False)):
        if one != other:
            raise Disagreement(f"{what}: row {place} is {one}, and the database has {other}")
    if len(found) != len(expected):
        raise Disagreement(f"{what}: {len(found)} rows, and the database has {len(expected)}")


async def _inserts(one: Contestant, port: int, url: str, asked: Asked, rows: int) -> None:
    answer = rows_of(answered(port, asked, 1))
    expected = [row_of(row) for row in await data.fetched(url, f"{BY_KEY} AND id > {rows}", answer[0]["id"])]
    compare(f"{one.name}, {asked.method} {asked.path}", answer, expected)
    sent = {name: value for name, value in json.loads(asked.body.replace("%d", "1")).items() if name != "price"}
    compare(f"{one.name}, what it was sent", [{name: answer[0][name] for name in sent}], [sent])


def _walked(one: Contestant, port: int, headers: Mapping[str, str], rows: int) -> str:
    """The cursor behind so many rows, found as a client finds it: page by page."""
    cursor = ""
    while rows:
        limit = min(rows, LONGEST_PAGE)
        path = f"{one.prefix}/items?limit={limit}" + (f"&cursor={cursor}" if cursor else "")
        cursor = answered(port, Asked(path, headers=headers), 0)["next"]
        rows -= limit
    return cursor
