"""The shared directory: threads that come to their end, and what goes wrong, told as what it is."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from service.db import Database
from service.errors import StorageFull, Unavailable
from service.jobs.directory import AWAY, Directory, to_its_end
from service.jobs.folder import Folder
from service.jobs.spool import Spool
from tests.jobs.test_spool import names, whole
from tests.waiting import until


async def test_a_write_that_is_broken_off_does_not_land_in_what_others_write(
    committed: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share hangs for a moment while the worker is told to stop; another one goes on with the file."""
    spool, write = Spool(committed, tmp_path), Folder.write
    file = await spool.open("f", "export")
    await spool.append(file, b"header\n")
    hangs, goes_on = threading.Event(), threading.Event()

    def hang(folder: Folder, place: str, position: int, data: bytes) -> None:
        if data.startswith(b"old"):
            hangs.set()
            goes_on.wait()
        write(folder, place, position, data)

    monkeypatch.setattr(Folder, "write", hang)
    first = asyncio.create_task(spool.append(file, b"old old old old\n"))
    await until(hangs.is_set)
    first.cancel()
    second = asyncio.create_task(spool.append(file, b"new\n"))
    done, _ = await asyncio.wait([first, second], timeout=0.2)
    assert not done
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    await second
    await spool.seal(file)
    assert await whole(spool, file) == b"header\nnew\n"


async def test_what_is_cancelled_more_than_once_ends_once() -> None:
    began, goes_on = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        goes_on.wait()

    task = asyncio.create_task(to_its_end(work))
    await until(began.is_set)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    assert not task.done()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_what_a_thread_gives_and_what_it_raises() -> None:
    assert await to_its_end(max, 1, 2) == 2
    with pytest.raises(ZeroDivisionError):
        await to_its_end(divmod, 1, 0)


async def test_a_directory_that_cannot_be_used(tmp_path: Path, logged: list[Any]) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        there = Directory(path)
        for going in (there.write("f", 0, b"x"), there.sync("f", 0), there.read("f", 0, 1), there.at("f")):
            with pytest.raises(Unavailable, match=AWAY):
                await going
    assert {line["directory"] for line in logged} == {str(tmp_path / "nowhere"), str(tmp_path / "file")}
    assert "No such file or directory" in logged[0]["reason"]


async def test_a_file_that_is_not_in_its_directory(tmp_path: Path) -> None:
    """It isn't made anew, with nothing where its beginning was."""
    there = Directory(tmp_path)
    for going in (there.write("f", 1, b"x"), there.sync("f", 1), there.read("f", 0, 1), there.at("f")):
        with pytest.raises(FileNotFoundError):
            await going
    assert names(tmp_path) == []


async def test_a_disk_that_is_full() -> None:
    with pytest.raises(StorageFull):
        await Directory(Path("/dev")).write("full", 0, b"x")


async def test_what_cannot_be_removed(tmp_path: Path) -> None:
    there = Directory(tmp_path)
    assert await there.remove("f", there=False)
    assert not await there.remove("f", there=True)  # nothing at all is there: is that the directory?
    (tmp_path / "folder").mkdir()
    assert await there.remove("f", there=True)
    assert not await there.remove("folder", there=True)
