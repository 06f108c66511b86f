"""API keys as clients hold them, and what the service keeps of them: a signature, never the secret.

A key reads `shelf_<prefix>_<secret>`. The prefix is its name, for lists and logs. The secret has 256 random bits, and ends in a
checksum of the whole: a key that was cut off or mistyped is told from one that was revoked without asking anybody.
"""

import hashlib
import hmac
import re
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from service.db.keys import Signed

LETTERS = string.digits + string.ascii_uppercase + string.ascii_lowercase
PREFIX_CHARACTERS, SECRET_CHARACTERS, CHECKSUM_CHARACTERS = 8, 43, 6
FORM = re.compile(rb"shelf_([0-9a-z]{8})_[0-9A-Za-z]{49}")
PURPOSE, NAMING = b"shelfmark: signatures of API keys", b"shelfmark: the name of a secret"
NAME_CHARACTERS = 8
NOTHING = bytes(hashlib.sha256().digest_size)


def new() -> str:
    """A key that nobody has yet."""
    prefix = "".join(secrets.choice(string.digits + string.ascii_lowercase) for _ in range(PREFIX_CHARACTERS))
    return checked(f"shelf_{prefix}_" + "".join(secrets.choice(LETTERS) for _ in range(SECRET_CHARACTERS)))


def checked(body: str) -> str:
    """A key, from what its checksum is of."""
    return body + _checksum(body.encode())


def prefix_of(token: bytes) -> str | None:
    """The prefix of a key; None for what can't be one."""
    found = FORM.fullmatch(token)
    if found is None or _checksum(token[:-CHECKSUM_CHARACTERS]).encode() != token[-CHECKSUM_CHARACTERS:]:
        return None
    return found[1].decode()


@dataclass(frozen=True, slots=True)
class _Secret:
    """What is made of one of the service's secrets, for this purpose alone.

    Attributes:
        name: by which a signature remembers it; tells nothing of it.
    """

    name: str
    key: bytes


class Signatures:
    """Signs keys with the newest of the service's secrets, and knows those by the older ones."""

    def __init__(self, given: Sequence[bytes]) -> None:
        derived = [hmac.digest(secret, PURPOSE, "sha256") for secret in given]
        self._secrets = [_Secret(hmac.digest(key, NAMING, "sha256").hex()[:NAME_CHARACTERS], key) for key in derived]

    @property
    def newest(self) -> str:
        """The name of the secret that signs."""
        return self._secrets[0].name

    def knows(self, name: str) -> bool:
        """Whether the secret of that name is still set."""
        return any(secret.name == name for secret in self._secrets)

    def sign(self, token: bytes) -> Signed:
        """What to keep of a key."""
        newest = self._secrets[0]
        return Signed(prefix_of(token) or "", hmac.digest(newest.key, token, "sha256"), newest.name)

    def fits(self, token: bytes, kept: Signed | None) -> bool:
        """Whether a key is the one that was kept. Where none was, it takes as long to say no."""
        name = kept.signed_by if kept else ""
        secret = next((secret for secret in self._secrets if secret.name == name), self._secrets[0])
        found = hmac.digest(secret.key, token, "sha256")
        return hmac.compare_digest(found, kept.signature if kept else NOTHING)


def _checksum(body: bytes) -> str:
    number, found = zlib.crc32(body), ""
    for _ in range(CHECKSUM_CHARACTERS):
        number, rest = divmod(number, len(LETTERS))
        found = LETTERS[rest] + found
    return found
