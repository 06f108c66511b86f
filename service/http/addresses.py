"""Where a request comes from: the client's address, also behind proxies that are trusted, and the name its limit is kept under.

`X-Forwarded-For` is written by anybody. Only a trusted proxy's is read, from the right: the last address in it that isn't itself
a trusted proxy's is the client. What stands to the left of that one, the client may have made up.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope

REMEMBERED = 10_000
HOME_BITS = 64
"""Bits of an IPv6 address that tell one household or host from another; a client has all addresses below them."""
NOWHERE = "unknown"

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Addresses:
    """Tells the clients' addresses, given the networks of the proxies in front: `10.0.0.0/8`."""

    __slots__ = ("_name_of", "_trusted")

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._trusted: tuple[Network, ...] = tuple(map(ip_network, trusted))
        self._name_of = lru_cache(REMEMBERED)(self._named)

    def name_of(self, scope: Scope) -> str:
        """The client's address as limits name it: an IPv4 address, or the /64 of an IPv6 one."""
        client = scope.get("client")
        if not client:
            return NOWHERE
        if not self._trusted:
            return self._name_of(client[0])
        return self._name_of(client[0], *(value for name, value in scope["headers"] if name == b"x-forwarded-for"))

    def _named(self, peer: str, *forwarded: bytes) -> str:
        address = self._client(peer, b",".join(forwarded).decode("latin-1").split(","))
        if address is None:
            return NOWHERE
        if address.version == 4:  # noqa: PLR2004  # as it is called
            return str(address)
        return str(ip_network((address, HOME_BITS), strict=False))

    def _client(self, peer: str, forwarded: Sequence[str]) -> Address | None:
        """The rightmost address that isn't a trusted proxy's; one that can't be read is the last trusted proxy's own business."""
        found = read(peer)
        for text in reversed(forwarded):
            if found is None or not self._is_trusted(found):
                return found
            found = read(text) or found
        return found

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def read(text: str) -> Address | None:
    """An address as proxies write it, with a port or without; None for what is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
