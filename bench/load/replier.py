"""An HTTP/1.1 server that answers every request with the same word, as quickly as one core can: ``PORT WORD``.

Rule: whole requests without bodies are all that it understands; it must never be what is measured.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import uvloop


class Replier(asyncio.Protocol):
    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._rest = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        *requests, self._rest = (self._rest + data).split(b"\r\n\r\n")
        if requests:
            self._transport.write(self._answer * len(requests))


async def serve(port: int, word: str) -> None:
    answer = f"HTTP/1.1 200 OK\r\ncontent-length: {len(word)}\r\n\r\n{word}".encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Replier(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2]))
