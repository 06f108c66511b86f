"""The one file of a multipart/form-data body, taken out of it as it streams: nothing is kept but the part's head."""

import re

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import MalformedUpload

FIELD = "file"
FORM = "multipart/form-data"
BOUNDARY = re.compile(rb"[0-9a-zA-Z'()+_,\-./:=? ]{0,69}[0-9a-zA-Z'()+_,\-./:=?]")
PLAIN = ("", "7bit", "8bit", "binary")
ONE = f"Send one part, named `{FIELD}`, with the file; what else there is to say belongs into the URL."
SPOILT = "The multipart body can't be read: {reason}. Send what an HTTP library writes, as curl -F does."


class OneFile:
    """Reads a body that must hold one file, and nothing else.

    Attributes:
        name: what the file is called; empty: not said, or not yet.
        kind: its media type; empty likewise.
    """

    def __init__(self, content_type: str) -> None:
        """By the body's Content-Type.

        Raises:
            MalformedUpload: it names no boundary.
        """
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if not BOUNDARY.fullmatch(boundary):
            raise MalformedUpload(SPOILT.format(reason="its Content-Type names no boundary"))
        self.name = self.kind = ""
        self._head: list[tuple[str, str]] = []
        self._field = self._value = b""
        self._content: list[bytes] = []
        self._files = 0
        self._whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": self._on_field,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header,
                "on_headers_finished": self._on_head,
                "on_part_data": self._on_data,
                "on_end": self._on_end,
            },
        )

    def feed(self, data: bytes) -> bytes:
        """What of the file was in a piece of the body.

        Raises:
            MalformedUpload: the body can't be read, or holds something else.
        """
        try:
            self._parser.write(data)
        except FormParserError:
            raise MalformedUpload(SPOILT.format(reason="it isn't what its Content-Type says")) from None
        content = b"".join(self._content)
        self._content.clear()
        return content

    def end(self) -> None:
        """The body ends here.

        Raises:
            MalformedUpload: it isn't whole, or there was no file.
        """
        if not self._whole:
            raise MalformedUpload(SPOILT.format(reason="it ends before its last boundary"))
        if not self._files:
            raise MalformedUpload(f"The body holds no file. {ONE}")

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        self._head.append((self._field.decode("latin-1").lower(), self._value.decode("latin-1")))
        self._field = self._value = b""

    def _on_head(self) -> None:
        """A part begins: it must be the file."""
        head, self._head = dict(self._head), []
        disposition, options = parse_options_header(head.get("content-disposition", ""))
        self._files += 1
        if disposition != b"form-data" or options.get(b"name") != FIELD.encode() or self._files > 1:
            raise MalformedUpload(f"The body holds something else than one file. {ONE}")
        if head.get("content-transfer-encoding", "").strip().lower() not in PLAIN:
            raise MalformedUpload("The file is sent with a Content-Transfer-Encoding. Send its bytes as they are.")
        self.name = options.get(b"filename", b"").decode("utf-8", "replace")
        self.kind = media_type(head.get("content-type", ""))

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        self._content.append(data[start:end])

    def _on_end(self) -> None:
        self._whole = True


def media_type(content_type: str) -> str:
    """The media type that a Content-Type names, without its parameters; empty: none."""
    return parse_options_header(content_type)[0].decode("latin-1").lower()
