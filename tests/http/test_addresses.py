"""Whose address counts: the client's, also behind proxies that are trusted, and never what a client made up."""

import pytest

from service.http.addresses import NOWHERE, Addresses

PROXIES = ("10.0.0.0/8", "fd00::/8")


def named(peer: str | None, *forwarded: str, trusted: tuple[str, ...] = PROXIES) -> str:
    """The name of the client of a request that came from a peer."""
    headers = [(b"host", b"x"), *((b"x-forwarded-for", line.encode()) for line in forwarded)]
    return Addresses(trusted).name_of({"type": "http", "client": (peer, 1) if peer else None, "headers": headers})


CASES = [
    ("203.0.113.9", (), "203.0.113.9"),
    ("203.0.113.9", ("198.51.100.1",), "203.0.113.9"),
    ("10.1.2.3", (), "10.1.2.3"),
    ("10.1.2.3", ("198.51.100.1",), "198.51.100.1"),
    ("10.1.2.3", ("1.1.1.1, 198.51.100.1",), "198.51.100.1"),
    ("10.1.2.3", ("1.1.1.1, 198.51.100.1, 10.9.9.9",), "198.51.100.1"),
    ("10.1.2.3", ("1.1.1.1", "198.51.100.1"), "198.51.100.1"),
    ("10.1.2.3", ("10.7.7.7, 10.9.9.9",), "10.7.7.7"),
    ("10.1.2.3", ("198.51.100.1, nonsense",), "198.51.100.1"),
    ("10.1.2.3", ("nonsense",), "10.1.2.3"),
    ("10.1.2.3", ("198.51.100.1:4711",), "198.51.100.1"),
    ("10.1.2.3", ("[2001:db8:1:2::5]:4711",), "2001:db8:1:2::/64"),
    ("10.1.2.3", ("",), "10.1.2.3"),
    ("fd00::1", ("2001:db8:1:2:3:4:5:6",), "2001:db8:1:2::/64"),
    ("2001:db8:1:2:3:4:5:6", (), "2001:db8:1:2::/64"),
    ("2001:db8:1:2:ffff::1", (), "2001:db8:1:2::/64"),
    ("::ffff:203.0.113.9", (), "203.0.113.9"),
    ("::ffff:10.1.2.3", ("198.51.100.1",), "198.51.100.1"),
    ("fe80::1%eth0", (), "fe80::/64"),
    (None, ("198.51.100.1",), NOWHERE),
    ("a.socket", (), NOWHERE),
]


@pytest.mark.parametrize(("peer", "forwarded", "expected"), CASES)
def test_whose_address_counts(peer: str | None, forwarded: tuple[str, ...], expected: str) -> None:
    assert named(peer, *forwarded) == expected


@pytest.mark.parametrize("peer", ["127.0.0.1", "10.1.2.3", "203.0.113.9"])
def test_without_trusted_proxies_the_header_is_ignored(peer: str) -> None:
    assert named(peer, "198.51.100.1", trusted=()) == peer


def test_a_chain_without_end_is_no_matter() -> None:
    """A client may send as many addresses as its head has room for: those left of the first untrusted one aren't looked at."""
    assert named("10.1.2.3", ",".join(["10.0.0.1"] * 5000 + ["198.51.100.1"])) == "198.51.100.1"
