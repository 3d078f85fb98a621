"""What nodes hold for one another in the ephemeral tables: whose it is, that it is there, that it has gone.

Rule: an entry has one writer, the run of the node that is its origin; everybody else passes it on as it is, ``more``
included, where a later release keeps what this one does not know.
"""

from __future__ import annotations

import msgspec


class Identity(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One run of one node: the node's id, and a number that grows with every start."""

    node: str
    incarnation: int


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


class Grave(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """``client`` no longer holds ``key``, since ``version`` of its origin."""

    key: bytes
    client: str
    version: int
    stamp: int
