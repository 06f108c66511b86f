"""Pages for people: /docs works without a network, and each problem has its page."""

import re
from base64 import b64encode
from hashlib import sha256

from httpx import AsyncClient


async def test_docs_refer_to_nothing_elsewhere(client: AsyncClient) -> None:
    page = await client.get("/docs")
    assert page.status_code == 200
    assert not re.findall(r"https?://", page.text)


async def test_the_assets_of_docs_are_served(client: AsyncClient) -> None:
    page = (await client.get("/docs")).text
    paths = [path for path in re.findall(r'(?:src|href)="([^"]+)"', page) if not path.startswith("data:")]
    assert len(paths) == 2
    for path in paths:
        asset = await client.get(path)
        assert asset.status_code == 200
        assert len(asset.content) > 1000


async def test_docs_run_their_own_scripts_and_no_others(client: AsyncClient) -> None:
    """A browser compares the script that stands in the page with the policy's hash."""
    page = await client.get("/docs")
    told = page.headers["content-security-policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in told
    assert "default-src 'none'" in told
    assert "frame-ancestors 'none'" in told
    assert "unsafe" not in told.partition("script-src")[2].partition(";")[0]
    assert not re.search(r"\son\w+=", page.text)


async def test_docs_show_this_services_document(client: AsyncClient) -> None:
    assert "'/openapi.json'" in (await client.get("/docs")).text
    assert (await client.get("/openapi.json")).json()["info"]["title"] == "Shelfmark"


async def test_each_type_of_problem_has_its_page(client: AsyncClient) -> None:
    refused = (await client.get("/v1/books?ratings_count=7")).json()
    page = await client.get(refused["type"])
    assert page.status_code == 200
    assert page.text.startswith("# ")


async def test_a_page_that_nobody_wrote(client: AsyncClient) -> None:
    answer = await client.get("/problems/nothing")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
