"""A UDP socket: datagrams in, datagrams out, nothing remembered.

Rule: sending never waits and never fails; a datagram that the network or the system does not take is lost, as UDP's
are. Who needs to know that one arrived asks for an answer to it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias, cast

from atoll.errors import AtollError, Code
from atoll.runtime.net import Address

Received: TypeAlias = Callable[[bytes, Address], None]


class UdpSocket(asyncio.DatagramProtocol):
    """Made by ``open_udp``. ``received`` is called on the loop; it must not wait."""

    def __init__(self, received: Received) -> None:
        self._received = received
        self._transport: asyncio.DatagramTransport
        self._full = False
        self.dropped = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._received(data, Address(addr[0], addr[1]))

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False

    def error_received(self, exc: Exception) -> None:
        """Nobody listens there (ICMP): the same as a datagram that was lost."""
        self.dropped += 1

    @property
    def address(self) -> Address:
        host, port = self._transport.get_extra_info("sockname")[:2]
        return Address(host, port)

    def send(self, data: bytes, to: Address) -> None:
        if self._full or self._transport.is_closing():
            self.dropped += 1
            return
        self._transport.sendto(data, to)

    def close(self) -> None:
        self._transport.close()


async def open_udp(address: Address, received: Received) -> UdpSocket:
    """Bind ``address`` (port 0: any). Raises UNAVAILABLE."""
    loop = asyncio.get_running_loop()
    try:
        _, socket = await loop.create_datagram_endpoint(lambda: UdpSocket(received), local_addr=address)
    except OSError as error:
        message = f"cannot send and receive datagrams on {address}: {error.strerror or error}"
        raise AtollError(Code.UNAVAILABLE, message) from error
    return socket
