"""Namespaces as Atoll's own API takes them; what it gives is ``namespace.NamespaceView``. Never stored."""

from __future__ import annotations

import msgspec


class NamespaceOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Make a namespace (``id`` empty: a random one), or change its name and description."""

    id: str = ""
    name: str = ""
    description: str = ""


class NamespaceNamed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str


class NamespaceRemoval(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``force``: although something is in it."""

    id: str
    force: bool = False
