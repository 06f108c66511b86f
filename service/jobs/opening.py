"""A file to import, opened: plain or gzip, a path or stdin, and never more of it in memory than one line.

Whatever can't be read twice (stdin, a pipe) is first copied to a temporary file: the rejects are written in a second reading.
"""

import gzip
import io
import shutil
import sys
import tempfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from service.errors import SetupError

Format = Literal["csv", "ndjson"]

LINE_BYTES = 1_000_000
BUFFER_BYTES = 1 << 20
STDIN = "-"
GZIP = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"
SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".json": "ndjson",
}
DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error)
OTHER_ENCODINGS = ((b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"), (b"\0\0\xfe\xff", "UTF-32"))
OTHER_KINDS = ((b"PK\x03\x04", "a zip archive or a spreadsheet"), (b"%PDF", "a PDF"), (b"SQLite format 3", "an SQLite database"))
NULS_PART = 4
"""No text has a NUL in every so many bytes."""


@dataclass
class Opened:
    """A file that can be read from its beginning as often as needed.

    Attributes:
        name: how messages call it.
        stem: its name without folders and known endings; the default name of the source.
        size: bytes on disk, compressed or not.
        format: what its lines are.
        most: bytes that it may have unpacked; None: any number.
    """

    name: str
    stem: str
    size: int
    format: Format
    _file: BinaryIO
    most: int | None = None

    def position(self) -> int:
        """Bytes of the file on disk that were read so far."""
        return 0 if self._file.closed else self._file.tell()

    def lines(self) -> Iterator[tuple[bytes, bool]]:
        """Each line from the beginning, and whether it is whole: one beyond a megabyte is cut there.

        Raises:
            SetupError: the compressed file is damaged, or too large unpacked.
        """
        count = 0
        try:
            for line in _bounded(_text(self._file, self.most)):
                yield line
                count += 1
        except _TooLarge:
            raise SetupError(
                f"{self.name} has more than {self.most:,} bytes, unpacked: the most that is read of one file. Divide it."
            ) from None
        except DAMAGED:
            raise SetupError(
                f"{self.name} is damaged: its gzip data ends or breaks after line {count:,}. "
                "Nothing was imported; get the file anew."
            ) from None

    def close(self) -> None:
        """Give the file back."""
        self._file.close()


def opened(path: Path | str, wanted: Format | None = None, *, name: str | None = None, most: int | None = None) -> Opened:
    """Open a file, or stdin for `-`.

    Args:
        path: where it is.
        wanted: what its lines are; None: that is found out.
        name: how it is called; None: by its path.
        most: bytes that it may have unpacked; None: any number.

    Raises:
        SetupError: it isn't there, can't be read, or is no text in UTF-8 by its first bytes.
    """
    standard = str(path) == STDIN
    name = name or ("stdin" if standard else str(path))
    try:
        file = _spooled(sys.stdin.buffer) if standard else cast("BinaryIO", Path(path).open("rb"))  # noqa: SIM115 - Opened closes it
        if not file.seekable():
            with file as pipe:
                file = _spooled(pipe)
    except OSError as error:
        raise SetupError(f"{name} can't be read: {error.strerror}.") from None
    try:
        start = _start(file, name)
        return Opened(name, stem_of(name), file.seek(0, io.SEEK_END), wanted or _format(name, start), file, most)
    except BaseException:
        file.close()
        raise


def _spooled(pipe: BinaryIO) -> BinaryIO:
    """A pipe's whole content as a nameless file, which vanishes with this process."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - Opened closes it
    shutil.copyfileobj(pipe, file, BUFFER_BYTES)
    return cast("BinaryIO", file)


class _TooLarge(Exception):
    """More bytes than may be read."""


def _text(file: BinaryIO, most: int | None = None) -> BinaryIO:
    """The file from its beginning, decompressed, without its byte order mark."""
    file.seek(0)
    magic = file.read(len(GZIP))
    file.seek(0)
    plain = gzip.GzipFile(fileobj=file) if magic == GZIP else file
    text = io.BufferedReader(_Unclosing(plain, most), BUFFER_BYTES)
    if text.peek(len(BOM)).startswith(BOM):
        text.read(len(BOM))
    return cast("BinaryIO", text)


class _Unclosing(io.RawIOBase):
    """A reader that leaves its file open, and stops at so many bytes: a buffer closes what it wraps when it is forgotten."""

    def __init__(self, inner: BinaryIO | gzip.GzipFile, most: int | None) -> None:
        self._inner, self._most = inner, most
        self._read = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer has no len()
        piece = self._inner.read(len(buffer))
        self._read += len(piece)
        if self._most is not None and self._read > self._most:
            raise _TooLarge
        buffer[: len(piece)] = piece
        return len(piece)


def _bounded(text: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    while line := text.readline(LINE_BYTES):
        whole = len(line) < LINE_BYTES or line.endswith(b"\n")
        yield line, whole
        while not whole:
            rest = text.readline(LINE_BYTES)
            whole = not rest or rest.endswith(b"\n")


def _start(file: BinaryIO, name: str) -> bytes:
    """The first bytes of the text, if they can be those of UTF-8."""
    try:
        start = cast("io.BufferedReader", _text(file)).peek()[:8192]
    except DAMAGED:
        raise SetupError(f"{name} is damaged: it begins like gzip and can't be decompressed. Get the file anew.") from None
    for mark, encoding in OTHER_ENCODINGS:
        if start.startswith(mark):
            raise SetupError(f"{name} is {encoding}. Save it as UTF-8: `iconv -f {encoding} -t UTF-8 {name} > utf8.csv`.")
    for mark, kind in OTHER_KINDS:
        if start.startswith(mark):
            raise SetupError(f"{name} is {kind}, not CSV or NDJSON. Export it as CSV in UTF-8.")
    if _is_binary(start):
        raise SetupError(f"{name} is no text: byte {start.index(0) + 1} is NUL. CSV or NDJSON in UTF-8 is expected.")
    if not start.strip():
        raise SetupError(f"{name} is empty.")
    return start


def _is_binary(start: bytes) -> bool:
    """Whether no text begins so: with NULs among the headers, or with many. One here and there is a fault of its record."""
    headers = b"" if start.lstrip().startswith(b"{") else start.partition(b"\n")[0]
    return b"\0" in headers or start.count(0) * NULS_PART > len(start)


def stem_of(name: str) -> str:
    """A file's name without folders and known endings."""
    stem = Path(name).name.removesuffix(".gz")
    return Path(stem).stem if Path(stem).suffix.lower() in SUFFIXES else stem


def _format(name: str, start: bytes) -> Format:
    known = SUFFIXES.get(Path(name.removesuffix(".gz")).suffix.lower())
    return known or ("ndjson" if start.lstrip().startswith(b"{") else "csv")
