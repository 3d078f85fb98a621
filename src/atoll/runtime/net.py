"""Addresses and listening sockets.

Rule: a socket that cannot be bound is an error that names the address, who has it where that can be known, and the
options that move it. A Unix socket appears under its name only once it is bound, has its mode and listens. Loopback is not a trust boundary; whether an address is loopback decides only what the rule
for listening asks for.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from atoll.errors import AtollError, Code, Reason

BACKLOG_CONNECTIONS = 1024
UNIX_SCHEME = "unix:"  # begins what stands for an address where it is a Unix socket's path
UNIX_PATH_BYTES_MAX = 107  # sockaddr_un, less the final NUL (unix(7))


class Address(NamedTuple):
    """A host (name, IPv4 or IPv6 without brackets) and a TCP port; port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        if self.host.startswith(UNIX_SCHEME):
            return self.host
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        if self.host == "localhost" or self.host.startswith(UNIX_SCHEME):
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


def listen_unix(path: Path, mode: int) -> socket.socket:
    """A listening Unix socket at ``path``, which replaces one that nobody listens at any more. ``mode``: who may connect
    (write permission, unix(7)). Raises IN_USE, DENIED, INVALID.
    """
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if _is_alive(path):
            raise AtollError(Code.UNAVAILABLE, f"another process listens at {path}", reason=Reason.IN_USE)
        fresh.unlink(missing_ok=True)
        with unix_name(fresh) as name:
            listener.bind(name)
        fresh.chmod(mode)
        listener.listen(BACKLOG_CONNECTIONS)
        listener.setblocking(False)
        fresh.rename(path)
    except (OSError, AtollError) as error:
        listener.close()
        if isinstance(error, AtollError):
            raise
        denied = isinstance(error, PermissionError)
        text = f"cannot listen at {path}: {error.strerror or error}"
        raise AtollError(Code.DENIED if denied else Code.INVALID, text) from error
    return listener


@contextlib.contextmanager
def unix_name(path: Path) -> Iterator[str]:
    """``path`` as ``bind`` and ``connect`` take it, by its folder's descriptor where it is too long itself."""
    if len(os.fsencode(path)) <= UNIX_PATH_BYTES_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _is_alive(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            with unix_name(path) as name:
                asking.connect(name)
        except BlockingIOError:  # its backlog is full
            return True
        except OSError:
            return False
    return True


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free now, for another program to listen at; whoever is quicker may still take it."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def bound_address(listener: socket.socket) -> Address:
    if listener.family == socket.AF_UNIX:
        return Address(f"{UNIX_SCHEME}{listener.getsockname()}", 0)
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
