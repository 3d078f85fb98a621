"""A TCP connection as a stream of bytes, for clients that block their own thread: the twin of ``streams``.

Rule: the same names with the same meaning as there. ``cut`` may be called from another thread; nothing else may.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
from pathlib import Path
from typing import Any

from atoll.runtime import net

READ_BYTES = 65_536


class Stream:
    """One connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def read(self, within_s: float | None) -> bytes:
        """What has come, at least a byte; empty at the end. Raises TimeoutError after ``within_s`` seconds."""
        self._connection.settimeout(within_s)
        return self._connection.recv(READ_BYTES)

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def certificate(self) -> dict[str, Any]:
        """What the other end showed and was verified, as ``ssl`` gives it; empty for nothing."""
        if isinstance(self._connection, ssl.SSLSocket):
            return self._connection.getpeercert() or {}
        return {}

    def cut(self) -> None:
        """End the connection at once; whoever reads sees its end."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._connection.close()


def connect(host: str, port: int, secure: ssl.SSLContext | None, within_s: float) -> Stream:
    connection = socket.create_connection((host, port), timeout=within_s)
    if secure is None:
        return Stream(connection)
    try:
        return Stream(secure.wrap_socket(connection, server_hostname=host))
    except OSError:
        connection.close()
        raise


def connect_unix(path: str, within_s: float) -> Stream:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(within_s)
    try:
        with net.unix_name(Path(path)) as name:
            connection.connect(name)
    except OSError:
        connection.close()
        raise
    return Stream(connection)
