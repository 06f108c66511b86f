"""What `up` proposes is made of what the tables answer, whatever they are."""

import shlex
from pathlib import Path

from httpx import AsyncClient

from service import schema
from service.app import PREFIX
from service.cli.welcome import tries, welcome
from tests.fixtures.parcels import router as parcels


async def test_each_table_proposes_what_works(client: AsyncClient) -> None:
    """A list and a lookup that are answered, and a refusal with the line that would serve it."""
    for router in schema.routers():
        found = [await client.get(PREFIX + path) for path, _ in tries([router])]
        assert [answer.status_code for answer in found] == [200, 200, 400], router.prefix
        assert found[2].json()["index"].startswith("Index(")


def test_the_table_with_most_to_show_is_chosen() -> None:
    """One whose list needs no filter."""
    (path, meaning), *_ = tries([*schema.routers(), parcels])
    assert path.startswith("/parcels?fields=id,posted,")
    assert meaning == "the first of parcels"


def test_without_a_table_only_the_docs_are_named() -> None:
    """A project whose first table isn't written yet."""
    assert welcome("http://127.0.0.1:8000", PREFIX, [], Path(".shelfmark/authorization")).split("\n") == [
        "",
        "Shelfmark serves on http://127.0.0.1:8000",
        "The API is documented at http://127.0.0.1:8000/docs",
        "Your API key is in .shelfmark/authorization",
        "",
        "Ctrl-C ends it.",
    ]


def test_each_line_sends_the_key() -> None:
    """From wherever it is kept."""
    lines = welcome("http://127.0.0.1:8000", PREFIX, [parcels], Path("/my shelf/authorization")).split("\n")
    sent = [shlex.split(line, comments=True) for line in lines if line.startswith("  curl")]
    assert sent
    assert all(line[:4] == ["curl", "-s", "-H", "@/my shelf/authorization"] and len(line) == 5 for line in sent)
