"""Where the web server can listen."""

import errno
import socket
from typing import Any

from service.errors import SetupError

PORTS_TRIED = 50
LAST_PORT = 65535


def is_free(host: str, port: int) -> bool:
    """Whether a server could listen there now; false if another one does.

    Raises:
        SetupError: no server ever could: the host is no address of this machine, or the port is for root alone.
    """
    family, address = _address(host, port)
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise SetupError(
                f"Nothing can listen on port {port} of {host}: {error.strerror}. Set SHELFMARK_HOST to an address of this machine, "
                "for example 127.0.0.1, and SHELFMARK_PORT to 1024 or more."
            ) from None
    return True


def require_free(host: str, port: int) -> None:
    """Make sure that a server can listen there.

    Raises:
        SetupError: it can't.
    """
    if not is_free(host, port):
        raise SetupError(f"Port {port} of {host} is taken. Name another one with --port or SHELFMARK_PORT.")


def free_port(host: str, port: int) -> int:
    """The first port that nobody listens on, from this one up.

    Raises:
        SetupError: none of the next ones is free.
    """
    for candidate in range(port, min(port + PORTS_TRIED, LAST_PORT + 1)):
        if is_free(host, candidate):
            return candidate
    raise SetupError(f"None of the {PORTS_TRIED} ports from {port} up is free on {host}. Name another one with --port.")


def origin(host: str, port: int) -> str:
    """How clients write where the server is."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _address(host: str, port: int) -> tuple[int, Any]:
    """The address family and the socket address of a name."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise SetupError(f"{host} is no address of this machine. Set SHELFMARK_HOST to one, for example 127.0.0.1.") from None
    return family, address
