"""Links to files of the spool, signed: whoever has one may read the file, for as long as the link is good."""

from dataclasses import dataclass
from time import time
from typing import Self

from service.contract.cursor import Signer
from service.errors import InvalidCursor, NotFound, SetupError
from service.local.signing import signing
from service.settings import Settings

ROUTE = "/v1/downloads"
WHAT = b"download"
GONE = (
    "This link leads to no file: it has expired, or isn't whole. The job that made the file tells its link; or ask for a new one."
)


@dataclass(frozen=True, slots=True)
class Links:
    """Makes and reads links.

    Attributes:
        signer: with the service's secrets; it says for how long a link is good. None: no links can be made.
    """

    signer: Signer | None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The links that the settings describe, good for as long as files are kept."""
        try:
            secrets = signing(settings)
        except SetupError:
            return cls(None)
        return cls(Signer(secrets, settings.spool_seconds))

    def to(self, file: int) -> str | None:
        """The link to a file: the path of a URL of the service. None where there is no secret to sign it with."""
        return f"{ROUTE}/{self.signer.seal(WHAT, [file], time())}" if self.signer else None

    def file(self, token: str) -> int:
        """The file that the last part of a link means.

        Raises:
            NotFound: none, or it has expired.
        """
        if self.signer is None:
            raise NotFound(GONE)
        try:
            (file,) = self.signer.open(WHAT, token, time())
        except InvalidCursor:
            raise NotFound(GONE) from None
        return int(file)
