"""One registration in the ephemeral tables, as nodes hold it and hand it on.

Rule: an entry has one writer, the node that it names as its origin; everybody else passes it on as it is, ``more``
included, where a later release keeps what this one does not know.
"""

from __future__ import annotations

import msgspec


class Entry(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``client`` of ``origin`` (a node's id) holds ``value`` under ``key``.

    ``version`` counts the changes of its origin; ``stamp`` is a Lamport clock over all origins, by which the newest
    of several entries under one key is known. ``lost``: the client's connection broke without a word, and nobody has
    taken the key over yet.
    """

    key: bytes
    client: str
    value: bytes
    origin: str
    version: int
    stamp: int
    lost: bool = False
    more: bytes = b""
