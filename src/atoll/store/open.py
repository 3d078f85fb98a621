"""One way to open any store by its address, for programs that have no node around them.

One rule: the scheme decides; what follows it is the driver's own. Nothing of etcd's libraries is loaded before
the driver for it makes its first connection.
"""

from __future__ import annotations

from pathlib import Path

from atoll.errors import AtollError, Code
from atoll.store import etcd_url
from atoll.store.api import Driver, Limits
from atoll.store.etcd import EtcdDriver
from atoll.store.memory import open_memory
from atoll.store.sqlite import open_sqlite

FORMS = f"memory:, sqlite:PATH or {etcd_url.FORM}"


def open_store(url: str, limits: Limits | None = None) -> Driver:
    """``memory:``, ``sqlite:PATH`` or ``etcd://...``. ``limits`` are an embedded store's; etcd has its own.

    Raises INVALID for an address that is none, and what the driver says of what it found (IN_USE, CORRUPT ...).
    An etcd cluster that cannot be reached is no error here: the first request tells.
    """
    scheme, colon, rest = url.partition(":")
    if url == "memory:":
        return open_memory(limits)
    if scheme == "sqlite" and rest:
        return open_sqlite(Path(rest), limits)
    if scheme == "etcd":
        return EtcdDriver(etcd_url.parse(url))
    what = (
        f"there is no store of the kind {scheme!r}"
        if colon and scheme.isalnum()
        else "it names no kind of store"
    )
    raise AtollError(Code.INVALID, f"the store's address is not valid: {what}; it is one of {FORMS}")
