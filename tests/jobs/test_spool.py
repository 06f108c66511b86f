"""Files that web servers and workers all see: their bytes in the database, or in a directory that is shared."""

import asyncio
import datetime
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update

from service.db import Database
from service.errors import Unavailable
from service.jobs.files import CHUNKS, FILES, PAST
from service.jobs.spool import CHUNK_BYTES, PRUNED_CHUNKS, Elsewhere, FileGone, Spool, plain

SOON = datetime.timedelta(seconds=-1)


@pytest.fixture(params=["database", "directory"])
def spool(request: pytest.FixtureRequest, committed: Database, tmp_path: Path) -> Spool:
    """A spool of either kind."""
    return Spool(committed, tmp_path if request.param == "directory" else None)


async def whole(spool: Spool, file: int) -> bytes:
    """All of a file."""
    return b"".join([data async for data in spool.read(file)])


async def stored(spool: Spool, *parts: bytes, **options: Any) -> int:
    """A sealed file of some parts."""
    file = await spool.open("f.csv", "upload", **options)
    for part in parts:
        await spool.append(file, part)
    await spool.seal(file)
    return file


async def chunks(database: Database) -> int:
    """How many chunks there are in the database."""
    async with database.reading() as session:
        return await session.scalar(select(func.count()).select_from(CHUNKS)) or 0


async def test_what_is_read_is_what_was_written(spool: Spool) -> None:
    parts = [b"first", b"", b"x" * (2 * CHUNK_BYTES + 17), bytes(range(256)) * 100, b"last"]
    file = await stored(spool, *parts, asked_by="k")
    assert await whole(spool, file) == b"".join(parts)
    assert max([len(data) async for data in spool.read(file)]) <= CHUNK_BYTES
    known = await spool.find(file)
    assert (known.name, known.kind, known.asked_by, known.size) == ("f.csv", "upload", "k", sum(map(len, parts)))
    assert known.sealed_at is not None
    assert known.created_at <= known.sealed_at < known.expires_at


async def test_an_empty_file(spool: Spool) -> None:
    file = await stored(spool)
    assert await whole(spool, file) == b""
    async with spool.local(file) as path:
        assert path.read_bytes() == b""


async def test_a_local_file_has_its_content_and_can_be_searched(spool: Spool) -> None:
    file = await stored(spool, b"a" * CHUNK_BYTES, b"the end")
    async with spool.local(file) as path:
        with path.open("rb") as opened:
            opened.seek(CHUNK_BYTES + 4)
            assert opened.read() == b"end"
    assert await whole(spool, file) == b"a" * CHUNK_BYTES + b"the end"


async def test_a_local_file_is_gone_afterwards(committed: Database) -> None:
    spool = Spool(committed)
    async with spool.local(await stored(spool, b"x")) as path:
        assert path.exists()
    assert not path.exists()


async def test_a_file_of_this_machine_is_kept(spool: Spool, tmp_path: Path) -> None:
    content = b"line\n" * 500_000
    (tmp_path / "rejects").write_bytes(content)
    known = await spool.keep(tmp_path / "rejects", "rejects.csv", "rejects", asked_by="k")
    assert (known.name, known.kind, known.asked_by, known.size) == ("rejects.csv", "rejects", "k", len(content))
    assert await whole(spool, known.id) == content


async def test_only_a_sealed_file_is_read_and_only_an_unsealed_one_written(spool: Spool) -> None:
    file = await spool.open("f", "export")
    await spool.append(file, b"x")
    with pytest.raises(FileGone, match="still written"):
        await whole(spool, file)
    with pytest.raises(FileGone, match="still written"):
        async with spool.local(file):
            pass
    await spool.seal(file)
    with pytest.raises(FileGone, match="nothing can be added"):
        await spool.append(file, b"y")
    with pytest.raises(FileGone, match="can't be ended"):
        await spool.seal(file)
    assert await whole(spool, file) == b"x"
    with pytest.raises(FileGone, match="was never there"):
        await spool.find(file + 1)


@asynccontextmanager
async def undone(database: Database) -> AsyncIterator[None]:
    """A unit of work that is rolled back."""
    with suppress(ZeroDivisionError):
        async with database.writing():
            yield
            raise ZeroDivisionError


def names(directory: Path) -> list[str]:
    """What is in a directory."""
    return [path.name for path in directory.iterdir()]


async def test_what_a_rolled_back_unit_of_work_added_was_never_there(spool: Spool) -> None:
    """A job's part and its checkpoint are one transaction. The next run adds the part again; the first doesn't shine through."""
    file = await spool.open("f", "export")
    async with spool.database.writing():
        await spool.append(file, b"one")
    async with undone(spool.database):
        await spool.append(file, b"of another length, and lost")
    assert (await spool.find(file)).size == 3
    await spool.append(file, b"two")
    async with undone(spool.database):
        await spool.append(file, b"lost before the end")
        await spool.seal(file)
    await spool.seal(file)
    assert await whole(spool, file) == b"onetwo"


async def test_writers_of_one_file_take_turns(spool: Spool) -> None:
    """What each adds stays together, whatever else is going on."""
    file = await spool.open("f", "export")
    parts = [bytes([number]) * 1000 for number in range(20)]

    async def write(some: Sequence[bytes]) -> None:
        for part in some:
            await spool.append(file, part)

    await asyncio.gather(*(write(parts[first::4]) for first in range(4)))  # as many as there are connections: none is turned away
    await spool.seal(file)
    content = await whole(spool, file)
    assert sorted(content[at : at + 1000] for at in range(0, len(content), 1000)) == parts


async def test_no_connection_is_held_between_chunks(spool: Spool) -> None:
    file = await stored(spool, b"a" * CHUNK_BYTES, b"b" * CHUNK_BYTES)
    reads, writes = spool.database.reads.gate, spool.database.writes.gate
    before = reads.free, writes.free
    reading = spool.read(file)
    await anext(reading)
    assert (reads.free, writes.free) == before
    assert await anext(reading) == b"b" * CHUNK_BYTES


async def test_expired_files_are_pruned_and_no_others(spool: Spool, tmp_path: Path) -> None:
    kept = await stored(spool, b"kept")
    writing = await spool.open("w", "upload")
    await spool.append(writing, b"still written")
    left = await spool.open("l", "upload", unsealed=SOON)
    large = await stored(spool, b"x")
    rows = [{"file_id": large, "number": number, "bytes": b"x"} for number in range(1, 2 * PRUNED_CHUNKS)]
    async with spool.database.writing() as unit:
        await unit.session.execute(CHUNKS.insert(), rows)
    await spool.release(large, SOON)
    with pytest.raises(FileGone):
        await whole(spool, large)
    assert await spool.prune() == 2
    assert await spool.prune() == 0
    for file in (left, large):
        with pytest.raises(FileGone):
            await spool.find(file)
    await spool.append(writing, b"!")
    await spool.seal(writing)
    assert (await whole(spool, kept), await whole(spool, writing)) == (b"kept", b"still written!")
    assert len(names(tmp_path)) + await chunks(spool.database) in {
        2,
        3,
    }  # two files in the directory, or three chunks in the database


async def test_a_file_that_is_being_pruned_takes_nothing_more(spool: Spool) -> None:
    file = await spool.open("f", "upload")
    async with spool.database.writing() as unit:
        await unit.session.execute(update(FILES).where(FILES.c.id == file).values(expires_at=PAST))
    with pytest.raises(FileGone):
        await spool.append(file, b"x")
    with pytest.raises(FileGone):
        await spool.seal(file)
    assert await spool.prune() == 1


async def test_writing_puts_off_the_end_of_an_unsealed_file(spool: Spool) -> None:
    file = await spool.open("f", "upload", unsealed=datetime.timedelta(seconds=60))
    before = (await spool.find(file)).expires_at
    await spool.append(file, b"x")
    assert (await spool.find(file)).expires_at > before


async def test_a_file_that_expires_while_it_is_read_ends_with_an_error(spool: Spool) -> None:
    """Never as if that were all of it."""
    file = await stored(spool, b"a" * CHUNK_BYTES, b"b")
    reading = spool.read(file)
    await anext(reading)
    await spool.release(file, SOON)
    await spool.prune()
    with pytest.raises((FileGone, FileNotFoundError)):
        await anext(reading)


async def test_release_never_keeps_a_file_longer(spool: Spool) -> None:
    file = await stored(spool, b"x")
    before = (await spool.find(file)).expires_at
    await spool.release(file, datetime.timedelta(days=700))
    assert (await spool.find(file)).expires_at == before


async def test_a_process_that_lacks_the_directory_says_so_and_leaves_its_files_alone(committed: Database, tmp_path: Path) -> None:
    shared, bare = Spool(committed, tmp_path), Spool(committed)
    file = await stored(shared, b"x")
    with pytest.raises(FileGone, match="SHELFMARK_SPOOL_DIRECTORY"):
        await whole(bare, file)
    await shared.release(file, SOON)
    gone = await stored(bare, b"y")
    await bare.release(gone, SOON)
    assert await bare.prune() == 1
    assert await shared.prune() == 1
    assert names(tmp_path) == []


async def test_a_directory_that_is_not_mounted(committed: Database, tmp_path: Path) -> None:
    """The file isn't called gone: once the directory is back, so is the file."""
    spool = Spool(committed, tmp_path / "shared")
    (tmp_path / "shared").mkdir()
    file = await stored(spool, b"x")
    (tmp_path / "shared").rename(tmp_path / "elsewhere")
    with pytest.raises(Unavailable, match="The directory that files are kept in can't be used"):
        async with spool.local(file):
            pass
    (tmp_path / "shared").mkdir()
    await spool.release(await stored(Spool(committed, tmp_path / "elsewhere"), b"y"), SOON)
    with pytest.raises(Elsewhere, match="SHELFMARK_SPOOL_DIRECTORY must lead to the same directory in every process"):
        await whole(spool, file)
    assert await spool.prune() == 0  # it isn't forgotten: it would stay there for ever
    (tmp_path / "shared").rmdir()
    (tmp_path / "elsewhere").rename(tmp_path / "shared")
    assert await whole(spool, file) == b"x"
    assert await spool.prune() == 1


async def test_a_file_that_cannot_be_removed_keeps_no_others(committed: Database, tmp_path: Path) -> None:
    spool = Spool(committed, tmp_path)
    stuck, other = await stored(spool, b"x"), await stored(spool, b"y")
    async with committed.reading() as session:
        place = str(await session.scalar(select(FILES.c.place).where(FILES.c.id == stuck)))
    (tmp_path / place).unlink()
    (tmp_path / place).mkdir()
    for file in (stuck, other):
        await spool.release(file, SOON)
    assert await spool.prune() == 1
    assert names(tmp_path) == [place]
    (tmp_path / place).rmdir()
    (tmp_path / "another").write_text("")
    assert await spool.prune() == 1


async def test_names_in_the_directory_are_the_services_own(committed: Database, tmp_path: Path) -> None:
    spool = Spool(committed, tmp_path)
    file = await spool.open("../../etc/passwd", "upload")
    await spool.append(file, b"x")
    (name,) = names(tmp_path)
    assert len(name) == 32
    assert (tmp_path / name).stat().st_mode & 0o077 == 0
    assert (await spool.find(file)).name == "passwd"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("books.csv", "books.csv"),
        ("/a/b/books.csv", "books.csv"),
        ("C:\\files\\books.csv", "books.csv"),
        ("a\0b\r\n\u202e.csv", "ab.csv"),
        ("", "file"),
        ("...", "file"),
        ("静かな家.csv", "静かな家.csv"),
        ("x" * 300 + ".csv", "x" * 196 + ".csv"),
    ],
)
def test_names(given: str, kept: str) -> None:
    assert plain(given) == kept
