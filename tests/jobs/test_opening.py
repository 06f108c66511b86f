"""Files to import: compressed, piped, damaged, or no text at all."""

import gzip
import io
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import SetupError
from service.jobs.opening import LINE_BYTES, opened

TEXT = b"a,b\n1,2\n"


def written(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["books.csv", "books.csv.gz", "books.csv.with.no.ending"])
def test_gzip_is_known_by_its_first_bytes(tmp_path: Path, name: str) -> None:
    for content in (TEXT, gzip.compress(TEXT), gzip.compress(TEXT[:4]) + gzip.compress(TEXT[4:])):
        file = opened(written(tmp_path, name, content))
        assert [line for line, _ in file.lines()] == [b"a,b\n", b"1,2\n"]
        assert [line for line, _ in file.lines()] == [b"a,b\n", b"1,2\n"]  # as often as needed
        assert file.position() == file.size
        file.close()


@pytest.mark.parametrize(
    ("name", "stem", "form"),
    [
        ("books.csv", "books", "csv"),
        ("books.2026.CSV.gz", "books.2026", "csv"),
        ("books.ndjson", "books", "ndjson"),
        ("books.jsonl.gz", "books", "ndjson"),
        ("books", "books", "csv"),
    ],
)
def test_name_gives_source_and_format(tmp_path: Path, name: str, stem: str, form: str) -> None:
    file = opened(written(tmp_path, name, TEXT))
    assert (file.stem, file.format) == (stem, form)
    file.close()


def test_content_gives_the_format_where_the_name_does_not(tmp_path: Path) -> None:
    file = opened(written(tmp_path, "books", b'\n {"a": 1}\n'))
    assert file.format == "ndjson"
    file.close()


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    file = opened(written(tmp_path, "books.csv", b"\xef\xbb\xbf" + TEXT))
    assert next(file.lines()) == (b"a,b\n", True)
    file.close()


def test_a_pipe_can_be_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(TEXT,))
    writer.start()
    file = opened(pipe)
    writer.join()
    assert [len(list(file.lines())) for _ in range(2)] == [2, 2]
    file.close()


def test_stdin_can_be_read_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(gzip.compress(TEXT))))
    file = opened("-")
    assert (file.name, file.stem, [len(list(file.lines())) for _ in range(2)]) == ("stdin", "stdin", [2, 2])
    file.close()


def test_an_absurd_line_is_cut_and_its_rest_skipped(tmp_path: Path) -> None:
    file = opened(written(tmp_path, "books.csv", b"a\n" + b"x" * (3 * LINE_BYTES + 5) + b"\nb\n" + b"y" * (LINE_BYTES - 1) + b"\n"))
    assert [(len(line), whole) for line, whole in file.lines()] == [(2, True), (LINE_BYTES, False), (2, True), (LINE_BYTES, True)]
    file.close()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"a,\0b\n1,2\n", "byte 3 is NUL"),
        (b"a,b\n" + bytes(3) + b"1,2\n", "byte 5 is NUL"),
        ("a,b\n1,2\n".encode("utf-16"), "is UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "byte 2 is NUL"),
        (b"PK\x03\x04rest", "spreadsheet"),
        (b"\x1f\x8brest of no gzip", "can't be decompressed"),
        (gzip.compress(TEXT)[:-12], "is damaged"),
        (gzip.compress(b""), "is empty"),
    ],
    ids=[
        "empty",
        "blank",
        "NUL in the first line",
        "NULs",
        "UTF-16",
        "UTF-16 without a mark",
        "zip",
        "no gzip",
        "cut off",
        "empty gzip",
    ],
)
def test_what_is_no_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    with pytest.raises(SetupError, match=reason):
        list(opened(written(tmp_path, "books.csv", content)).lines())


def test_gzip_that_breaks_later_says_where(tmp_path: Path) -> None:
    content = gzip.compress(b"".join(b"%d,%d\n" % (number, hash(number)) for number in range(200_000)))
    file = opened(written(tmp_path, "books.csv.gz", content[: len(content) // 2]))
    with pytest.raises(SetupError, match=r"breaks after line \d+,\d+"):
        list(file.lines())
    file.close()


def test_what_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="No such file"):
        opened(tmp_path / "nothing.csv")
    with pytest.raises(SetupError, match="directory"):
        opened(tmp_path)


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_no_more_is_unpacked_than_may_be(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    content = b"a,b\n" + b"1,2\n" * 500_000
    path = written(tmp_path, "books.csv", pack(content))
    file = opened(path, most=len(content))
    assert sum(1 for _ in file.lines()) == sum(1 for _ in file.lines()) == 500_001
    file.close()
    file = opened(path, most=len(content) - 1)
    with pytest.raises(SetupError, match=r"books.csv has more than 2,000,003 bytes, unpacked"):
        list(file.lines())
    file.close()


def test_a_file_may_be_called_otherwise_than_by_its_path(tmp_path: Path) -> None:
    file = opened(written(tmp_path, "tmp123", b"{}\n"), name="books.csv.gz")
    assert (file.name, file.stem, file.format) == ("books.csv.gz", "books", "csv")
    file.close()
    with pytest.raises(SetupError, match=r"^books.csv is empty"):
        opened(written(tmp_path, "tmp123", b""), name="books.csv")
