# Generated from src/atoll/embed/aio/connection.py by `python3 dev.py generate`; edit that file instead.
"""The way to a shared store: Atoll's own node or an etcd cluster, by the same URL.

Rule: an application that wants a store of its own, in its process, opens one with ``store.memory`` or
``store.sqlite`` and wraps it the same way.
"""

from __future__ import annotations

from atoll.errors import AtollError, Code
from atoll.store import etcd_url
from atoll.store.blocking import BlockingStore
from atoll.store.etcd import EtcdDriver

SCHEME = "etcd://"


def connect(url: str) -> BlockingStore:
    """A store for ``etcd://host:port,host:port?options``; connects at the first request. Raises INVALID."""
    if not url.startswith(SCHEME):
        raise AtollError(
            Code.INVALID, f"{url!r} is not the address of a shared store; expected {SCHEME}HOST:PORT"
        )
    return BlockingStore(EtcdDriver(etcd_url.parse(url)))
