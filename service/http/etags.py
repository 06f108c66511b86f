"""Conditional requests (RFC 9110, section 13): ETags, and what `If-Match` and `If-None-Match` make of them.

A row's ETag is strong: its version, sealed, and a hash of what is shown of it, the view. The version is sealed because it holds
the time of the last change, which a table may hide. Whoever shows one of a row's ETags in `If-Match`, whatever its view, means
that version of the row; the write itself is then held against it, in its own statement. A list's ETag is a weak hash of the bytes.
There is no `Last-Modified`, so the headers that speak of dates are ignored, as the RFC wants it.
"""

import datetime
import hashlib
import hmac
import json
import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import cache, lru_cache
from struct import Struct
from typing import Any, Literal

from starlette.types import Scope

from service.db.version import Match, Version
from service.errors import InvalidQuestion, PreconditionFailed, PreconditionRequired
from service.http.schema import Schema

HEADER, FIELD = "ETag", b"etag"
IF_MATCH, IF_NONE_MATCH = b"if-match", b"if-none-match"
Demanded = Literal["If-Match"]
"""What a table may demand of who changes its rows: see `serve`."""
PURPOSE = b"shelfmark: versions of rows"
EPOCH, MICROSECOND = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), datetime.timedelta(microseconds=1)
SEAL_BYTES, VIEW_BYTES, LIST_BYTES = 8, 9, 18
VIEWS_MOST = 1000
PLAIN = Struct(">qq")
WEAK = b"W/"
TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
TAGS = re.compile(rb"[ \t,]*" + TAG + rb"(?:[ \t]*,[ \t,]*" + TAG + rb")*[ \t,]*")
ONE = re.compile(TAG)
ROWS = re.compile(rb'"([0-9A-Za-z+/]{32})\.[0-9A-Za-z+/]+"')
ANY = b"*"
OTHER = "What is here isn't in the state that If-Match asks for. Ask without If-Match for what there is now."
UNSAID = (
    "Rows of {table} are changed only by who says which state is meant: send If-Match with the ETag that the row had when you got "
    "it, or * for whatever there is."
)
MALFORMED = '{name}: send ETags as they were answered, with their quotes, with commas between: "abc", "def"; or *.'


class Etags:
    """Makes the ETags of rows, and reads them.

    Args:
        secrets: the newest first; that one seals, all are known.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._keys = [hmac.digest(secret, PURPOSE, "sha256") for secret in secrets]

    def row(self, version: Version, view: bytes) -> bytes:
        """The ETag of a row.

        Args:
            version: of the row.
            view: what is shown of it: see `view_of` and `of_content`.
        """
        moment = version.changed_at
        if moment.tzinfo is None:  # the driver's infinity
            moment = moment.replace(tzinfo=datetime.UTC)
        return self._made(version.number, (moment - EPOCH) // MICROSECOND, view)

    def kept(self, text: str) -> str:
        """The ETag of a row whose version and view were kept as `answers.ROW_VERSION`."""
        number, moment, view = text.split(" ")
        return self._made(int(number), int(moment), view.encode()).decode()

    def version(self, tag: bytes) -> Version | None:
        """The version that one of a row's ETags stands for; None where it is no ETag of a row."""
        found = ROWS.fullmatch(tag)
        sealed = a2b_base64(found[1]) if found else b""
        for key in self._keys if sealed else ():
            plain = _mixed(key, sealed[:SEAL_BYTES], sealed[SEAL_BYTES:])
            if hmac.compare_digest(_seal(key, plain), sealed[:SEAL_BYTES]):
                number, moment = PLAIN.unpack(plain)
                return Version(number, EPOCH + moment * MICROSECOND)
        return None

    def match(self, scope: Scope, table: str, *, demanded: bool = False) -> Match:
        """Which states of a row a request to change it is meant for.

        Args:
            scope: of the request.
            table: the row's, as a refusal names it.
            demanded: whether it has to say so.

        Raises:
            PreconditionRequired: it has to, and doesn't.
            InvalidQuestion: what it says can't be understood.
        """
        fields = scope["state"]["fields"]
        if demanded and IF_MATCH not in fields:
            raise PreconditionRequired(UNSAID.format(table=table))
        wanted, unwanted = [_named(scope, name) if name in fields else None for name in (IF_MATCH, IF_NONE_MATCH)]
        strong = None if wanted is None or ANY in wanted else [tag for tag in wanted if not tag.startswith(WEAK)]
        return Match(
            None if strong is None else self._versions(strong),
            self._versions([tag.removeprefix(WEAK) for tag in unwanted or ()]),
            ANY in (unwanted or ()),
        )

    def _versions(self, tags: Sequence[bytes]) -> tuple[Version, ...]:
        found = dict.fromkeys(self.version(tag) for tag in tags)
        return tuple(version for version in found if version is not None)

    def _made(self, number: int, microseconds: int, view: bytes) -> bytes:
        key, plain = self._keys[0], PLAIN.pack(number, microseconds)
        seal = _seal(key, plain)
        return b'"%b.%b"' % (b2a_base64(seal + _mixed(key, seal, plain), newline=False), view)


def _seal(key: bytes, plain: bytes) -> bytes:
    return hashlib.blake2b(plain, digest_size=SEAL_BYTES, key=key, person=b"seal").digest()


def _mixed(key: bytes, seal: bytes, text: bytes) -> bytes:
    """Hide a version behind bytes that follow from its seal, or bring it out again."""
    mask = hashlib.blake2b(seal, digest_size=PLAIN.size, key=key, person=b"mask").digest()
    return (int.from_bytes(text) ^ int.from_bytes(mask)).to_bytes(PLAIN.size)


def of_list(body: bytes) -> bytes:
    """The ETag of a list: weak, since equal rows may be written in other bytes."""
    return b'W/"%b"' % b2a_base64(hashlib.sha256(body).digest()[:LIST_BYTES], newline=False)


def of_content(body: bytes) -> bytes:
    """The view of a row that more than its version decides: relations inside, members that are worked out in Python."""
    return b2a_base64(hashlib.sha256(body).digest()[:VIEW_BYTES], newline=False)


@lru_cache(VIEWS_MOST)
def view_of(shape: type[Schema], members: tuple[str, ...]) -> bytes:
    """The view of a row that its version decides: some members of a shape, in their order."""
    return of_content(_written(shape) + "\n".join(members).encode())


@cache
def _written(shape: type[Schema]) -> bytes:
    return json.dumps(shape.model_json_schema(mode="serialization"), sort_keys=True).encode()


def is_known(scope: Scope, etag: bytes) -> bool:
    """Whether who asks has what would be answered, so that 304 is enough.

    Args:
        scope: of a GET or HEAD.
        etag: of the answer.

    Raises:
        PreconditionFailed: `If-Match` asks for something else.
        InvalidQuestion: `If-Match` can't be understood. Where `If-None-Match` can't, it is as if it weren't there.
    """
    fields = scope["state"]["fields"]
    if IF_MATCH in fields:
        wanted = _named(scope, IF_MATCH)
        if ANY not in wanted and (etag.startswith(WEAK) or etag not in wanted):
            raise PreconditionFailed(OTHER)
    if IF_NONE_MATCH not in fields:
        return False
    if fields[IF_NONE_MATCH] == etag:
        return True
    try:
        had = _named(scope, IF_NONE_MATCH)
    except InvalidQuestion:
        return False
    return ANY in had or etag.removeprefix(WEAK) in [tag.removeprefix(WEAK) for tag in had]


def _named(scope: Scope, name: bytes) -> list[bytes]:
    """The ETags that a header names, or `*` alone.

    Raises:
        InvalidQuestion: it names none.
    """
    given: Any = b",".join(value for field, value in scope["headers"] if field == name).strip(b" \t")
    if given == ANY:
        return [ANY]
    if not TAGS.fullmatch(given):
        raise InvalidQuestion(MALFORMED.format(name=name.decode().title()))
    return ONE.findall(given)
