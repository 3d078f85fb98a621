"""A node as its API shows it. Never stored; written by the host alone.

Rule: what is shown has no secret in it: a setting that names a file shows the name, and a URL its address alone.
"""

from __future__ import annotations

import msgspec


class Listener(msgspec.Struct, frozen=True):
    """One address that the node answers on. ``tls``: encrypted."""

    name: str
    address: str
    tls: bool


class Node(msgspec.Struct, frozen=True):
    """``health``: each part with ``ready`` or why it is not. ``remarks``: what its people should know."""

    version: str
    pid: int
    started_at_s: float  # Unix time
    ready_after_s: float  # from the start of the process
    resident_bytes: int
    data: str
    auth: bool
    store: str
    listeners: tuple[Listener, ...]
    planes: tuple[str, ...]
    jobs: tuple[str, ...]  # leader-only jobs that this node is running now
    health: dict[str, str]
    remarks: tuple[str, ...]


class SettingValue(msgspec.Struct, frozen=True):
    """One setting, as text, and where the value came from."""

    name: str
    value: str
    source: str


class StoreStatus(msgspec.Struct, frozen=True):
    """The store as it is now; sizes in bytes."""

    url: str
    revision: int
    compact_revision: int
    generation: int
    size_bytes: int
    size_in_use_bytes: int
    version: str
    alarms: tuple[str, ...]
    leases: int


class Lease(msgspec.Struct, frozen=True):
    """``id`` in lower-case hex, as etcdctl shows it; ``keys`` as text, bytes that are none escaped."""

    id: str
    granted_ttl_s: int
    ttl_s: int
    keys: tuple[str, ...]


class Leases(msgspec.Struct, frozen=True):
    """At most ``leases_max`` of ``count``."""

    count: int
    leases: tuple[Lease, ...]


class CompactOrder(msgspec.Struct, frozen=True):
    """Forget history up to ``revision``; 0: up to the newest."""

    revision: int = 0


class Done(msgspec.Struct, frozen=True):
    """An order was carried out; ``revision`` is the store's when it was."""

    revision: int = 0
