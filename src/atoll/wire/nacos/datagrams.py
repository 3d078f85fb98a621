"""Datagrams of the UDP push that 1.x clients listen for, and their acknowledgements.

Rule: a push is ``{"type": "dom", "data": "<ServiceInfo>", "lastRefTime": N}``, gzip above ``GZIP_BYTES_MIN``; the
client sends ``lastRefTime`` back. What does not fit one datagram is not sent: the client polls as well.
"""

from __future__ import annotations

import gzip

import msgspec

GZIP_BYTES_MIN = 1_024
DATAGRAM_BYTES_MAX = 65_507  # UDP over IPv4 (RFC 768, RFC 791)
ACK_BYTES_MAX = 1_024


class _Push(msgspec.Struct, rename="camel", kw_only=True):
    type: str = "dom"
    data: str
    last_ref_time: int


class _Ack(msgspec.Struct, rename="camel"):
    type: str
    last_ref_time: int | str


def push(service_info: bytes, last_ref_time: int) -> bytes | None:
    """``service_info`` is its JSON. None: too large for a datagram."""
    text = msgspec.json.encode(_Push(data=service_info.decode(), last_ref_time=last_ref_time))
    if len(text) >= GZIP_BYTES_MIN:
        text = gzip.compress(text, 5, mtime=0)
    return text if len(text) <= DATAGRAM_BYTES_MAX else None


def acknowledged(datagram: bytes) -> int | None:
    """The ``lastRefTime`` that a push-ack names; None for anything else."""
    if len(datagram) > ACK_BYTES_MAX:
        return None
    try:
        ack = msgspec.json.decode(datagram, type=_Ack)
        return int(ack.last_ref_time) if ack.type == "push-ack" else None
    except (msgspec.MsgspecError, ValueError):
        return None
