"""Ports and addresses: free, taken, impossible."""

import socket

import pytest

from service.cli.ports import LAST_PORT, free_port, is_free, origin, require_free
from service.errors import SetupError
from tests.fixtures.processes import taken, unused_port


def test_free_and_taken() -> None:
    """A port is taken as long as somebody listens."""
    with taken() as port:
        assert not is_free("127.0.0.1", port)
        assert not is_free("localhost", port)
        assert not is_free("0.0.0.0", port)  # noqa: S104 a look only
        with pytest.raises(SetupError, match=rf"Port {port} of 127\.0\.0\.1 is taken\. Name another one"):
            require_free("127.0.0.1", port)
    assert is_free("127.0.0.1", port)
    require_free("127.0.0.1", port)


def test_looking_leaves_nothing_behind() -> None:
    """A server can listen right after the look."""
    port = unused_port()
    assert is_free("127.0.0.1", port)
    socket.create_server(("127.0.0.1", port)).close()


def test_the_next_free_one() -> None:
    """A taken port is passed over; the last one is the end."""
    with taken() as port:
        assert port < free_port("127.0.0.1", port) <= port + 50
    with socket.create_server(("127.0.0.1", LAST_PORT)), pytest.raises(SetupError, match="from 65535 up is free"):
        free_port("127.0.0.1", LAST_PORT)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "x" * 300, ""])
def test_an_unknown_host(host: str) -> None:
    """The sentence names the setting."""
    with pytest.raises(SetupError, match=r"is no address of this machine\. Set SHELFMARK_HOST"):
        is_free(host, 8000)


def test_the_address_of_another_machine() -> None:
    """It is not called taken: no other port would help."""
    with pytest.raises(SetupError, match=r"Nothing can listen on port 8000 of 192\.0\.2\.1: Cannot assign requested address"):
        is_free("192.0.2.1", 8000)


def test_origin() -> None:
    """An IPv6 address stands in brackets."""
    assert origin("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert origin("::1", 80) == "http://[::1]:80"
