"""A TCP connection as a stream of bytes, for clients on the event loop. Its twin for threads is ``blocking_streams``.

Rule: both modules have the same names with the same meaning, so that what stands on one can be generated for the
other; failures are ``OSError`` (``TimeoutError`` among them), mapped by whoever knows what was asked for.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.runtime import net
from atoll.runtime.net import Address

READ_BYTES = 65_536


class Stream:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, within_s: float | None) -> bytes:
        """What has come, at least a byte; empty at the end. Raises TimeoutError after ``within_s`` seconds."""
        async with asyncio.timeout(within_s):
            return await self._reader.read(READ_BYTES)

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():  # uvloop's transport raises RuntimeError of its own once it is closed
            raise ConnectionResetError("the connection is closed")
        self._writer.write(data)
        await self._writer.drain()

    def certificate(self) -> dict[str, Any]:
        """What the other end showed and was verified, as ``ssl`` gives it; empty for nothing."""
        secured = self._writer.get_extra_info("ssl_object")
        return (secured.getpeercert() or {}) if secured is not None else {}

    def cut(self) -> None:
        """End the connection at once; whoever reads sees its end."""
        self._writer.transport.abort()

    async def close(self) -> None:
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def connect(host: str, port: int, secure: ssl.SSLContext | None, within_s: float) -> Stream:
    async with asyncio.timeout(within_s):
        return Stream(*await asyncio.open_connection(host, port, ssl=secure))


async def connect_unix(path: str, within_s: float) -> Stream:
    async with asyncio.timeout(within_s):
        with net.unix_name(Path(path)) as name:
            return Stream(*await asyncio.open_unix_connection(name))


class Acceptor:
    """A listening socket. Made by ``accept``."""

    def __init__(self, server: asyncio.Server, address: Address) -> None:
        self._server = server
        self.address = address

    def close(self) -> None:
        """Accept no more; connections that are there stay."""
        self._server.close()


async def accept(
    address: Address,
    option: str,
    secure: ssl.SSLContext | None,
    begin: Callable[[Stream], object],
) -> Acceptor:
    """Bind ``address`` and call ``begin`` with every connection. ``option`` is the one that moves the address, for the
    error's text. Raises ``AtollError``.
    """

    def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        begin(Stream(reader, writer))

    sock = net.listen(address, option)
    return Acceptor(await asyncio.start_server(accepted, sock=sock, ssl=secure), net.bound_address(sock))
