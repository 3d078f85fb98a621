"""A client of the registry: what a node knows of one connection, or of one instance that sends beats. Never stored.

Rule: a client belongs to the node that it talks to; what it registered and what it subscribed to end with it.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from atoll.resources.records import NOTHING


class ClientKind(enum.Enum):
    """What keeps a client alive."""

    CONNECTION = "connection"  # an open connection
    BEAT = "beat"  # beats over HTTP, one client for each address
    POLL = "poll"  # asks again and again (HTTP), and may be told by UDP in between


class Client(msgspec.Struct, frozen=True, gc=False):
    """``id`` is unique in the cluster. ``address``: IP without port. ``opened_s``: Unix time."""

    id: str
    kind: ClientKind = ClientKind.CONNECTION
    address: str = ""
    port: int = 0
    app: str = ""
    version: str = ""  # the SDK's name and version, as it says them
    labels: Mapping[str, str] = NOTHING
    user: str = ""
    opened_s: float = 0.0
