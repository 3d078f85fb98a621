"""The clients of this node: who they are, and what each of them registered.

Rule: a client is here from ``opened`` to ``closed``; what it registered is one set of instances a service.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from atoll.errors import AtollError, Code
from atoll.resources.instance import InstanceId
from atoll.resources.registry_client import Client
from atoll.resources.service import ServiceKey

INSTANCES_PER_CLIENT_MAX = 20_000


class Known(msgspec.Struct):
    """A client and its registrations. ``updated_s``: Unix time of its last act."""

    client: Client
    updated_s: float
    published: dict[ServiceKey, dict[InstanceId, None]] = msgspec.field(default_factory=dict)

    def count(self) -> int:
        return sum(map(len, self.published.values()))


class Clients:
    """By id."""

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __iter__(self) -> Iterator[Known]:
        return iter(list(self._known.values()))

    def opened(self, client: Client, now_s: float) -> None:
        """The same id again: what is known of it is replaced, what it registered stays."""
        known = self._known.get(client.id)
        if known is None:
            self._known[client.id] = Known(client, now_s)
        else:
            known.client, known.updated_s = client, now_s

    def closed(self, client_id: str) -> Known | None:
        return self._known.pop(client_id, None)

    def get(self, client_id: str) -> Known | None:
        return self._known.get(client_id)

    def require(self, client_id: str) -> Known:
        """Raises NOT_FOUND for a client that has not been opened, or was closed."""
        known = self._known.get(client_id)
        if known is None:
            raise AtollError(
                Code.NOT_FOUND, f"no client {client_id!r} is connected to this node: connect again"
            )
        return known
