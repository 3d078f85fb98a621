"""The messages that nodes exchange about their ephemeral tables, and their byte form: MessagePack with names.

Rule: a field that is added has a default, and a name that is not known is passed over, so that two releases can talk;
a new kind of message is sent only when the feature level says that every node knows it. ``FORMAT`` rises only when
old bytes can no longer be read. What does not parse is a ``ProtocolFault``: the link ends.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import msgspec

from atoll.errors import ProtocolFault
from atoll.wire.nodes.entry import Entry, Grave, Identity

FORMAT: Final = 1
MESSAGE_BYTES_MAX: Final = 4_194_304


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """The first message in either direction: who speaks. ``cluster``: a fingerprint of the secret that all nodes of
    one store share; ``nonce``: what the other side has to prove that it knows that secret for.
    """

    who: Identity
    cluster: str = ""
    format: int = FORMAT
    release: str = ""
    feature_level: int = 0
    nonce: str = ""


class Proof(msgspec.Struct, frozen=True, tag="proof"):
    """The second message: the sender knows the secret. ``code`` is over both nonces and who the sender is."""

    code: bytes


class Known(msgspec.Struct, frozen=True):
    """What the sender holds of one origin.

    ``digest`` empty: not taken this time. ``hears``: it has a link to that very run, or is it. ``gone_for_s`` below 0:
    the origin is not given up; otherwise for how long it has been.
    """

    who: Identity
    version: int
    digest: bytes = b""
    hears: bool = False
    gone_for_s: float = -1.0


class Status(msgspec.Struct, frozen=True, tag="status"):
    """Sent when a link begins and every second: proof of life, and what the sender holds."""

    stamp: int
    origins: tuple[Known, ...]


class Want(msgspec.Struct, frozen=True, tag="want"):
    """Send me what you hold of ``who`` above version ``since``; 0: all of it."""

    who: Identity
    since: int


class Batch(msgspec.Struct, frozen=True, tag="batch"):
    """The changes of ``who`` above ``since`` up to ``to``, by version, of each key the newest only.

    A chain of batches that begins at 0 is the whole origin: what it does not name is gone when it is ``complete``,
    which the last one of a chain says.
    """

    who: Identity
    since: int
    to: int
    complete: bool
    entries: tuple[Entry, ...] = ()
    graves: tuple[Grave, ...] = ()


class Ask(msgspec.Struct, frozen=True, tag="ask"):
    """A question of a part of the sender to the same part of the receiver. ``number`` comes back with the answer."""

    number: int
    kind: str
    body: bytes


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """``refused`` says why there is no answer; empty: there is one."""

    number: int
    body: bytes = b""
    refused: str = ""


Message: TypeAlias = Hello | Proof | Status | Want | Batch | Ask | Answer

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[Message] = msgspec.msgpack.Decoder(Message)


def encode(message: Message) -> bytes:
    return _ENCODER.encode(message)


def decode(data: bytes) -> Message:
    """Raises ``ProtocolFault``."""
    try:
        return _DECODER.decode(data)
    except msgspec.DecodeError as error:
        raise ProtocolFault("nodes", f"a message of {len(data)} bytes is none: {error}") from error
