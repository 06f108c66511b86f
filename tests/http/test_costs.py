"""What requests cost, by their method and URL; a dear one isn't made cheap by spelling it otherwise."""

import pytest
from fastapi import FastAPI

from service.http.costs import BATCH, COUNT, FREE, KINDS, LIST, ROW, SEARCH, STREAM, WRITE, Kind, kind_of

CASES = [
    ("GET", "/livez", b"", FREE),
    ("GET", "/readyz", b"", FREE),
    ("HEAD", "/readyz", b"", FREE),
    ("GET", "/docs", b"", ROW),
    ("GET", "/v1/books/7", b"", ROW),
    ("GET", "/v1/books/7", b"fields=id", ROW),
    ("GET", "/v1/books", b"", LIST),
    ("HEAD", "/v1/books", b"language=eng", LIST),
    ("GET", "/v1/books", b"count=none", LIST),
    ("GET", "/v1/books", b"language=eng&count=capped", COUNT),
    ("GET", "/v1/books", b"count=estimate%64", COUNT),
    ("GET", "/v1/books", b"c%6funt=capped", COUNT),
    ("GET", "/v1/books", b"title__icontains=garden", SEARCH),
    ("GET", "/v1/books", b"title%5F%5ficontains=garden", SEARCH),
    ("GET", "/v1/books", b"title__icontains%3Dgarden", SEARCH),
    ("GET", "/v1/books", b"limit=1&attributes__has=%7B%22a%22:1%7D", SEARCH),
    ("HEAD", "/v1/books", b"attributes__%68as=%7B%7D", SEARCH),
    ("GET", "/v1/books.csv", b"", STREAM),
    ("HEAD", "/v1/books.ndjson", b"title__icontains=garden", STREAM),
    ("GET", "/v1/books/7.csv", b"", ROW),
    ("POST", "/v1/books", b"", WRITE),
    ("PATCH", "/v1/books/7", b"", WRITE),
    ("DELETE", "/v1/books/7", b"", WRITE),
    ("POST", "/v1/loans/7:renew", b"", WRITE),
    ("OPTIONS", "/v1/books", b"", WRITE),
    ("POST", "/v1/books:batch", b"", BATCH),
    ("POST", "/livez", b"", WRITE),
]


@pytest.mark.parametrize(("method", "path", "query", "kind"), CASES)
def test_the_kind_of_a_request(method: str, path: str, query: bytes, kind: Kind) -> None:
    assert kind_of({"type": "http", "method": method, "path": path, "query_string": query}) == kind


def test_the_kinds_are_ordered_by_their_cost() -> None:
    costs = [kind.cost for kind in KINDS]
    assert costs == sorted(costs)
    assert {kind.name for kind in KINDS if kind.dear} == {"search", "batch", "streamed export"}


def test_every_route_of_a_table_costs_something(app: FastAPI) -> None:
    """Nothing of the API is free by the shape of its path; numbers aren't either."""
    for path, item in app.openapi()["paths"].items():
        for method in item:
            cost = kind_of({"type": "http", "method": method.upper(), "path": path, "query_string": b""}).cost
            assert (cost > 0) == path.startswith(("/v1/", "/metrics")), f"{method} {path}"
