"""Length-prefixed messages: one flag byte, four length bytes, then so many bytes (PROTOCOL-HTTP2).

Rule: the length is judged before the bytes are kept, so a peer that announces 4 GiB costs five bytes.
A compressed message is held to the same limit after decompression, and is never inflated beyond it.
"""

from __future__ import annotations

import zlib

from atoll.wire.grpc.status import Status

PREFIX_BYTES = 5
_GZIP_WINDOW = 31  # zlib's name for "gzip header, 32 KiB window"


class MessageFault(Exception):
    """This call is lost, the connection is not. ``status`` and the text go to the caller."""

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


def encode(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


class MessageReader:
    """The messages of one direction of one call. ``encoding`` is the request's ``grpc-encoding``."""

    __slots__ = ("_buffer", "_encoding", "_size_bytes_max", "_wanted_bytes")

    def __init__(self, size_bytes_max: int, encoding: bytes = b"identity") -> None:
        self._size_bytes_max = size_bytes_max
        self._encoding = encoding
        self._buffer = bytearray()
        self._wanted_bytes = PREFIX_BYTES  # how much the buffer needs before looking at it can help

    @property
    def buffered_bytes(self) -> int:
        """Bytes of a message that is not yet whole; not 0 at the end of the stream: it was cut off."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """The messages that ``data`` completed, in order. Raises ``MessageFault``."""
        if not self._buffer and len(data) >= PREFIX_BYTES:
            whole = self._sole_message(data)
            if whole is not None:
                return [whole]
        self._buffer += data
        if len(self._buffer) < self._wanted_bytes:
            return []
        return self._split()

    def _sole_message(self, data: bytes) -> bytes | None:
        """The usual case, without a copy into the buffer: ``data`` is exactly one uncompressed message."""
        size_bytes = int.from_bytes(data[1:PREFIX_BYTES], "big")
        if data[0] or size_bytes + PREFIX_BYTES != len(data) or size_bytes > self._size_bytes_max:
            return None
        return data[PREFIX_BYTES:]

    def _split(self) -> list[bytes]:
        messages: list[bytes] = []
        buffer = self._buffer
        offset = 0
        while True:
            self._wanted_bytes = PREFIX_BYTES
            if len(buffer) - offset < PREFIX_BYTES:
                break
            flag = buffer[offset]
            size_bytes = int.from_bytes(buffer[offset + 1 : offset + PREFIX_BYTES], "big")
            self._check_prefix(flag, size_bytes)
            self._wanted_bytes = PREFIX_BYTES + size_bytes
            if len(buffer) - offset < self._wanted_bytes:
                break
            start = offset + PREFIX_BYTES
            offset = start + size_bytes
            message = bytes(buffer[start:offset])
            messages.append(self._inflate(message) if flag else message)
        del buffer[:offset]
        return messages

    def _check_prefix(self, flag: int, size_bytes: int) -> None:
        if flag > 1:
            raise MessageFault(Status.INTERNAL, f"grpc: message flag must be 0 or 1, not {flag}")
        if size_bytes > self._size_bytes_max:
            raise self._too_large(f"{size_bytes}")
        if flag and self._encoding == b"identity":
            raise MessageFault(Status.INTERNAL, "grpc: compressed message without grpc-encoding")

    def _inflate(self, message: bytes) -> bytes:
        inflater = zlib.decompressobj(_GZIP_WINDOW)
        try:
            plain = inflater.decompress(message, self._size_bytes_max + 1)
        except zlib.error as error:
            raise MessageFault(Status.INTERNAL, f"grpc: message is not gzip data: {error}") from error
        if len(plain) > self._size_bytes_max:
            raise self._too_large(f"more than {self._size_bytes_max}")
        if not inflater.eof or inflater.unused_data:
            raise MessageFault(Status.INTERNAL, "grpc: gzip message is cut off or has bytes after its end")
        return plain

    def _too_large(self, size: str) -> MessageFault:
        return MessageFault(
            Status.RESOURCE_EXHAUSTED,
            f"grpc: received message larger than max ({size} vs. {self._size_bytes_max})",
        )
