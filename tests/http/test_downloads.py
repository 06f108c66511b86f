"""A file of the spool is read by whoever has its link: whole, or the answer is broken off; and without a link, by nobody."""

import datetime
from pathlib import Path
from time import time

import pytest
from httpx import AsyncClient

from service.app import create_app
from service.contract.cursor import Signer
from service.db import Database
from service.db.bound import Bound
from service.db.deadline import until
from service.errors import NotFound, Overloaded
from service.http.streaming import BrokenOff
from service.jobs import spool as spool_module
from service.jobs.links import ROUTE, WHAT, Links
from service.jobs.spool import CHUNK_BYTES, Spool, Spooled
from service.settings import Settings
from tests.fixtures.application import client_of
from tests.fixtures.keys import bearer
from tests.http.conftest import refused

CONTENT = b"line,reason,text\n" + b"x" * (2 * CHUNK_BYTES)


async def stored(database: Database, name: str = "f.csv", content: bytes = CONTENT, spool: Spool | None = None) -> int:
    """A sealed file."""
    spool = spool or Spool(database)
    file = await spool.open(name, "rejects")
    await spool.append(file, content)
    await spool.seal(file)
    return file


class Made:
    """The service's own links."""

    def __init__(self, settings: Settings) -> None:
        self._links = Links.of(settings)

    def to(self, file: int) -> str:
        """The link to a file."""
        return str(self._links.to(file))


@pytest.fixture
def links(settings: Settings) -> Made:
    """The service's own."""
    return Made(settings)


def test_without_a_secret_there_are_no_links(settings: Settings) -> None:
    links = Links.of(settings.model_copy(update={"secrets": ()}))
    assert links.to(1) is None
    with pytest.raises(NotFound):
        links.file("x")


async def test_a_file_to_whoever_has_its_link(client: AsyncClient, database: Bound, links: Made) -> None:
    link = links.to(await stored(database))
    del client.headers["authorization"]
    answer = await client.get(link)
    assert answer.status_code == 200
    assert answer.content == CONTENT
    assert answer.headers["content-length"] == str(len(CONTENT))
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == "attachment; filename=\"f.csv\"; filename*=UTF-8''f.csv"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = await client.head(link)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(CONTENT)))


async def test_an_empty_file(client: AsyncClient, database: Bound, links: Made) -> None:
    answer = await client.get(links.to(await stored(database, "e", b"")))
    assert (answer.status_code, answer.content, answer.headers["content-type"]) == (200, b"", "application/octet-stream")


async def test_names_cannot_break_out_of_their_header(client: AsyncClient, database: Bound, links: Made) -> None:
    answer = await client.get(links.to(await stored(database, '静"; a=\\b\r\nX: y.ndjson')))
    assert answer.headers["content-disposition"].startswith('attachment; filename="')
    assert "x" not in answer.headers
    assert answer.headers["content-disposition"].count('"') == 2
    assert answer.headers["content-type"] == "application/x-ndjson"


async def test_links_that_lead_nowhere(client: AsyncClient, database: Bound, settings: Settings, links: Made) -> None:
    file = await stored(database)
    token = links.to(file).removeprefix(f"{ROUTE}/")
    others = [
        token[:-1] + ("A" if token[-1] != "A" else "B"),
        str(file),
        links.to(file + 1).removeprefix(f"{ROUTE}/"),
        Signer(settings.signing(), 60).seal(WHAT, [file], time() - 61),
        Signer(settings.signing(), 60).seal(b"another question", [file], time()),
        Signer([b"another" * 8], 60).seal(WHAT, [file], time()),
        links.to(await Spool(database).open("u", "export")).removeprefix(f"{ROUTE}/"),
    ]
    for other in others:
        refused(await client.get(f"{ROUTE}/{other}"), 404, "not-found")
    await Spool(database).release(file, datetime.timedelta(seconds=-1))
    refused(await client.get(f"{ROUTE}/{token}"), 404, "not-found")


async def test_a_file_that_vanishes_meanwhile_breaks_the_answer_off(
    client: AsyncClient, database: Bound, links: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody takes a half of it for all."""
    link, read = links.to(await stored(database)), Spool._chunk  # noqa: SLF001

    async def vanishing(spool: Spool, known: object, number: int, position: int) -> bytes:
        return b"" if number else await read(spool, known, number, position)  # type: ignore[arg-type]

    monkeypatch.setattr(Spool, "_chunk", vanishing)
    with pytest.raises(BrokenOff):
        await client.get(link)


async def test_a_file_that_is_not_in_the_shared_directory(
    settings: Settings, committed: Database, tmp_path: Path, links: Made
) -> None:
    (tmp_path / "shared").mkdir()
    shared = settings.model_copy(update={"spool_directory": tmp_path / "shared"})
    link = links.to(await stored(committed, spool=Spool.of(committed, shared)))
    async with client_of(create_app(shared, committed)) as client:
        (tmp_path / "shared").rename(tmp_path / "away")
        assert "directory" in refused(await client.get(link), 503, "unavailable")["detail"]
        (tmp_path / "away").rename(tmp_path / "shared")
        assert (await client.get(link)).content == CONTENT
        (tmp_path / "shared").rename(tmp_path / "away")
        (tmp_path / "shared").mkdir()
        refused(await client.get(link), 404, "not-found")


async def test_a_database_that_is_busy_for_a_moment_breaks_nothing_off(
    client: AsyncClient, database: Bound, links: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file lasts longer than a request may wait for a connection."""
    link, read, refused_ = links.to(await stored(database)), Spool._chunk, list[int]()  # noqa: SLF001
    monkeypatch.setattr(spool_module, "WAITS_SECONDS", (0.0, 0.0))

    async def busy(spool: Spool, known: Spooled, number: int, position: int) -> bytes:
        assert until() is None or not number
        if number == 1 and len(refused_) < 2:
            refused_.append(number)
            raise Overloaded("busy")
        return await read(spool, known, number, position)

    monkeypatch.setattr(Spool, "_chunk", busy)
    assert (await client.get(link)).content == CONTENT
    assert refused_ == [1, 1]


async def test_a_key_makes_no_difference(client: AsyncClient, database: Bound, links: Made) -> None:
    link = links.to(await stored(database))
    assert (await client.get(link)).status_code == 200
    assert (await client.get(link, headers=bearer("shelf_nobodyss_x"))).status_code == 401
