"""One file is taken out of a multipart body as it streams, however it is cut; anything else is refused."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import MalformedUpload
from service.http.multipart import OneFile, media_type

KIND = "multipart/form-data; boundary=XyZ"
HEAD = b'Content-Disposition: form-data; name="file"; filename="books.csv"\r\nContent-Type: text/csv; charset=utf-8\r\n\r\n'
CONTENT = b"title,author\r\n--Xy\r\n--XyZ not at the begin\r\n-\r\n\x00\xff"


def body(*parts: bytes) -> bytes:
    """Parts, each with its head, as a body."""
    return b"".join(b"--XyZ\r\n" + part + b"\r\n" for part in parts) + b"--XyZ--\r\n"


def cut(data: bytes, size: int) -> Iterator[bytes]:
    """Data in pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))


def read(data: bytes, size: int = 1000, kind: str = KIND) -> tuple[bytes, OneFile]:
    """The file of a body that arrives in pieces."""
    parts = OneFile(kind)
    content = b"".join(parts.feed(piece) for piece in cut(data, size))
    parts.end()
    return content, parts


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50, 1000])
def test_a_file_however_it_is_cut(size: int) -> None:
    content = CONTENT.replace(b"\r\n--XyZ not", b"\r\n--Xy")
    found, parts = read(body(HEAD + content), size)
    assert found == content
    assert (parts.name, parts.kind) == ("books.csv", "text/csv")


@given(st.binary(max_size=2000), st.integers(1, 300))
@settings(max_examples=100, deadline=None, database=None)
def test_any_content(content: bytes, size: int) -> None:
    content = content.replace(b"--XyZ", b"")
    assert read(body(HEAD + content), size)[0] == content


def test_names_of_other_alphabets() -> None:
    head = 'Content-Disposition: form-data; name="file"; filename="静かな家.csv"\r\n\r\n'.encode()
    assert read(body(head + b"x"))[1].name == "静かな家.csv"


def test_a_file_without_a_name_and_a_quoted_boundary() -> None:
    content, parts = read(
        body(b'Content-Disposition: form-data; name="file"\r\n\r\nx'), kind='multipart/form-data; charset=utf-8; boundary="XyZ"'
    )
    assert (content, parts.name, parts.kind) == (b"x", "", "")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ends before its last boundary"),
        (b"title,author\n", "isn't what its Content-Type says"),
        (body(HEAD + b"x")[:-6], "ends before its last boundary"),
        (b"--XyZ--\r\n", "holds no file"),
        (body(HEAD + b"x", HEAD + b"y"), "something else than one file"),
        (body(b'Content-Disposition: form-data; name="source"\r\n\r\nx'), "what else there is to say belongs into the URL"),
        (body(b'Content-Disposition: attachment; name="file"\r\n\r\nx'), "something else than one file"),
        (body(b"\r\nx"), "something else than one file"),
        (body(b"Content-Transfer-Encoding: base64\r\n" + HEAD + b"eA=="), "Content-Transfer-Encoding"),
        (body(b"X: " + b"x" * 10_000 + b"\r\n" + HEAD + b"x"), "isn't what its Content-Type says"),
        (body(b"X: x\r\n" * 100 + HEAD + b"x"), "isn't what its Content-Type says"),
        (b"--XyZ\r\nno colon\r\n\r\nx\r\n--XyZ--\r\n", "isn't what its Content-Type says"),
    ],
)
def test_bodies_that_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedUpload, match=reason):
        read(data)


@pytest.mark.parametrize("boundary", ["", "; boundary=", "; boundary=" + "x" * 71, "; boundary=a\u00e9"])
def test_boundaries_that_are_none(boundary: str) -> None:
    with pytest.raises(MalformedUpload, match="names no boundary"):
        OneFile(f"multipart/form-data{boundary}")


@pytest.mark.parametrize(
    ("given", "kind"), [("", ""), ("text/csv", "text/csv"), ("TEXT/CSV; charset=utf-8", "text/csv"), ("x", "x"), (";", "")]
)
def test_media_types(given: str, kind: str) -> None:
    assert media_type(given) == kind
