"""Requests counted: by route, method, lane and status, and never by what a client wrote."""

from collections import Counter
from typing import Any

from fastapi import FastAPI
from httpx import AsyncClient

from service.http.requests import ANSWERS, EXPRESS, Requests
from tests.factories.books import BookFactory

Found = dict[tuple[str, ...], float]


def counted(requests: Requests, family: str = "shelfmark_requests_total") -> Found:
    """A family's counts, by its labels, but for those of nothing; of a histogram the number of values."""
    told = [(labels, numbers) for name, labels, numbers in requests.told() if name == family]
    counts = {labels: sum(numbers[:-1]) if len(numbers) > 1 else numbers[0] for labels, numbers in told}
    return {labels: count for labels, count in counts.items() if count}


def scope(path: str = "/", method: str = "GET") -> dict[str, Any]:
    """A request, as it stands when it has been answered."""
    return {"type": "http", "method": method, "path": path, "state": {}}


async def test_by_the_template_of_the_route(app: FastAPI, client: AsyncClient) -> None:
    book = await BookFactory.create()
    for _ in range(3):
        await client.get(f"/v1/books/{book.id}")
    await client.get("/v1/books/0")
    await client.head("/v1/books?limit=1")
    await client.post("/v1/authors", json={})
    assert counted(app.state.requests) == {
        ("/v1/books/{id}", "GET", "express", "2xx"): 3,
        ("/v1/books/{id}", "GET", "express", "4xx"): 1,
        ("/v1/books", "HEAD", "express", "2xx"): 1,
        ("/v1/authors", "POST", "routes", "4xx"): 1,
    }
    assert counted(app.state.requests, "shelfmark_request_seconds") == {
        ("/v1/books/{id}", "GET", "express"): 4,
        ("/v1/books", "HEAD", "express"): 1,
        ("/v1/authors", "POST", "routes"): 1,
    }


async def test_a_flood_of_paths_and_methods_is_one_number(app: FastAPI, client: AsyncClient) -> None:
    for number in range(50):
        await client.get(f"/secret-{number}/nothing?secret={number}")
        await client.request(f"SECRET{number}", f"/v1/{number}")
    found = counted(app.state.requests)
    assert found == {("none", "GET", "routes", "4xx"): 50, ("none", "other", "routes", "4xx"): 50}


async def test_problems_by_their_type(app: FastAPI, client: AsyncClient) -> None:
    """Those of routes, of layers, of the framework, and of shapes."""
    asked = [
        client.get("/v1/books?title=It"),
        client.get("/v1/books?nothing=1"),
        client.get("/nothing"),
        client.put("/v1/books"),
        client.post("/v1/authors", json={}),
        client.get("/v1/books", headers={"Authorization": "Bearer shelf_wrong"}),
        client.post("/v1/authors", content=b"{", headers={"Content-Type": "application/json"}),
        client.post("/v1/authors", content=b"{}", headers={"Content-Encoding": "gzip"}),
    ]
    slugs = Counter([(await one).json()["type"].rpartition("/")[2] for one in asked])
    assert len(slugs) >= 6
    assert counted(app.state.requests, "shelfmark_problems_total") == {(slug,): times for slug, times in slugs.items()}


def test_a_lane_counts_in_what_it_has_kept() -> None:
    requests = Requests()
    kept = requests.of("/v1/books/{id}", "GET", EXPRESS)
    requests.count(scope("/v1/books/1") | {"state": {ANSWERS: kept}}, 200, 0.001)
    requests.count(scope("/v1/books/1") | {"state": {ANSWERS: kept}}, 304, 0.001)
    assert counted(requests) == {
        ("/v1/books/{id}", "GET", "express", "2xx"): 1,
        ("/v1/books/{id}", "GET", "express", "3xx"): 1,
    }
    assert requests.of("/v1/books/{id}", "GET", EXPRESS) is kept


def test_who_left_before_the_answer_is_counted_as_gone() -> None:
    requests = Requests()
    requests.count(scope(), 0, 1.0)
    assert counted(requests) == {("none", "GET", "routes", "gone"): 1}
