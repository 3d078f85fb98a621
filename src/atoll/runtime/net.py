"""Addresses and listening sockets.

Rule: a socket that cannot be bound is an error that names the address, who has it where that can be known, and the
options that move it. Loopback is not a trust boundary; whether an address is loopback decides only what the rule
for listening asks for.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from typing import NamedTuple

from atoll.errors import AtollError, Code, Reason

BACKLOG_CONNECTIONS = 1024


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def parse_address(text: str) -> Address:
    """``HOST:PORT`` or ``[IPv6]:PORT``. Raises INVALID with what was expected."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65_535:
        raise AtollError(
            Code.INVALID, f"{text!r} is not an address; expected HOST:PORT, as in 127.0.0.1:2379"
        )
    return Address(host, int(port))


def listen(address: Address, option: str) -> socket.socket:
    """A listening TCP socket on ``address``. ``option`` is the option that moves it, for the error's text."""
    try:
        family = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0][0]
        listener = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise _explain(error, address, option) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG_CONNECTIONS)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise _explain(error, address, option) from error
    return listener


def bound_address(listener: socket.socket) -> Address:
    host, port = listener.getsockname()[:2]
    return Address(host, port)


def _explain(error: OSError, address: Address, option: str) -> AtollError:
    if error.errno == errno.EADDRINUSE:
        message = (
            f"port {address.port} on {address.host} is in use by another process; "
            f"move it with {option} HOST:PORT or all ports together with --port-offset N"
        )
        return AtollError(Code.UNAVAILABLE, message, reason=Reason.IN_USE)
    if error.errno == errno.EACCES:
        message = f"this user may not listen on {address}; choose a port above 1023 with {option}"
        return AtollError(Code.DENIED, message)
    reason = error.strerror or str(error)
    return AtollError(
        Code.INVALID, f"cannot listen on {address}: {reason}; set {option} to an address of this machine"
    )
