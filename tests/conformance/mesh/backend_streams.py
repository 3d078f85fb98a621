"""Backends of what is not HTTP: lines over TCP, Redis, Thrift and Dubbo, as much of each as one echo takes.

Rule: each gives ``answer`` what it was asked and writes something with the backend's name into the reply.
"""

from __future__ import annotations

import asyncio
import json
import struct

from tests.conformance.mesh.backend_http import Answer, Seen


def _name(echo: bytes) -> bytes:
    name: str = json.loads(echo)["backend"]
    return name.encode()


async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """``LINE`` is answered by ``NAME LINE``."""
    while line := await reader.readline():
        reply, echo = answer(Seen("tcp", line.decode().strip()))
        await reply.wait()
        writer.write(_name(echo) + b" " + line)


async def redis(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """``GET key`` is ``NAME:key``; PING is PONG, everything else OK. Arrays of bulk strings, as all clients send them."""
    while head := await reader.readline():
        words = []
        for _ in range(int(head[1:])):
            length = int((await reader.readline())[1:])
            words.append((await reader.readexactly(length + 2))[:-2])
        command = words[0].upper()
        _, echo = answer(Seen("redis", b" ".join(words).decode()))
        if command == b"GET":
            value = _name(echo) + b":" + words[1]
            writer.write(b"$%d\r\n%s\r\n" % (len(value), value))
        else:
            writer.write(b"+PONG\r\n" if command == b"PING" else b"+OK\r\n")


_STRICT = 0x8001_0000
_CALL, _REPLY, _STRING, _STOP = 1, 2, 11, 0


def thrift_call(method: str, number: int = 1) -> bytes:
    """A framed call of the strict binary protocol, without arguments."""
    name = method.encode()
    body = struct.pack(">II", _STRICT | _CALL, len(name)) + name + struct.pack(">IB", number, _STOP)
    return struct.pack(">I", len(body)) + body


async def thrift(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Framed strict binary; a call of ``method`` returns the string ``NAME:method``."""
    while True:
        (length,) = struct.unpack(">I", await reader.readexactly(4))
        body = await reader.readexactly(length)
        (size,) = struct.unpack(">I", body[4:8])
        method, number = body[8 : 8 + size], body[8 + size : 12 + size]
        _, echo = answer(Seen("thrift", method.decode()))
        value = _name(echo) + b":" + method
        result = struct.pack(">BHI", _STRING, 0, len(value)) + value + bytes([_STOP])
        reply = struct.pack(">II", _STRICT | _REPLY, size) + method + number + result
        writer.write(struct.pack(">I", len(reply)) + reply)


_DUBBO_MAGIC, _HESSIAN_REQUEST, _HESSIAN_REPLY, _OK = 0xDABB, 0xC2, 0x02, 20
_WITH_VALUE = b"\x91"


def _hessian(text: str) -> bytes:
    """A string of fewer than 32 characters, or of fewer than 1,024."""
    data = text.encode()
    return (
        bytes([len(data)]) if len(data) < 32 else bytes([0x30 + (len(data) >> 8), len(data) & 0xFF])
    ) + data


def dubbo_call(interface: str, method: str, number: int = 1, version: str = "0.0.0") -> bytes:
    """A request without arguments, as Dubbo 2 sends it: protocol version, path, version, method, types, attachments."""
    words = ("2.0.2", interface, version, method, "")
    body = b"".join(map(_hessian, words)) + b"H" + _hessian("path") + _hessian(interface) + b"Z"
    return struct.pack(">HBBQI", _DUBBO_MAGIC, _HESSIAN_REQUEST, 0, number, len(body)) + body


async def dubbo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Answer) -> None:
    """Every call returns the string ``NAME``."""
    while True:
        head = await reader.readexactly(16)
        number, length = struct.unpack(">QI", head[4:])
        body = await reader.readexactly(length)
        _, echo = answer(Seen("dubbo", body.hex()))
        value = _WITH_VALUE + _hessian(_name(echo).decode())
        writer.write(struct.pack(">HBBQI", _DUBBO_MAGIC, _HESSIAN_REPLY, _OK, number, len(value)) + value)
