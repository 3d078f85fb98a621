"""The long connections of this node's clients, for whoever looks after them over another protocol.

Rule: the frontend that has the connections attaches itself; this only hands questions on. A client is named by its id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from atoll.errors import AtollError, Code
from atoll.resources.registry_client import Client


class Connections(Protocol):
    """A frontend with long connections."""

    def clients(self) -> Sequence[Client]: ...

    def send_away(self, client_id: str, server: str) -> bool:
        """False: no such client."""

    async def ask_metrics(
        self, client_id: str, keys: Sequence[tuple[str, str]], within_s: float
    ) -> Mapping[str, Any] | None:
        """None: no such client."""


class Connected:
    """Of all frontends of a node."""

    def __init__(self) -> None:
        self._all: list[Connections] = []

    def attach(self, connections: Connections) -> None:
        self._all.append(connections)

    def clients(self) -> list[Client]:
        """All that are connected, the oldest of each frontend first."""
        return [client for each in self._all for client in each.clients()]

    def send_away(self, client_id: str, server: str = "") -> None:
        """Ask a client to connect elsewhere (``server``: HOST:PORT, if that is known), and after a grace time close its
        connection. Raises NOT_FOUND.
        """
        if not any(each.send_away(client_id, server) for each in self._all):
            raise _unknown(client_id)

    async def ask_metrics(
        self, client_id: str, keys: Sequence[tuple[str, str]], within_s: float = 3.0
    ) -> Mapping[str, Any]:
        """What the client itself says of its caches. ``keys``: (``cacheData`` or ``snapshotData``, name of an item).
        Empty where it did not answer. Raises NOT_FOUND.
        """
        for each in self._all:
            found = await each.ask_metrics(client_id, keys, within_s)
            if found is not None:
                return found
        raise _unknown(client_id)


def _unknown(client_id: str) -> AtollError:
    return AtollError(Code.NOT_FOUND, f"no client {client_id!r} is connected to this node")
