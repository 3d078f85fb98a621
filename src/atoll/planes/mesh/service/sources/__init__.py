"""Where services come from: one interface, and what each source makes of its own layout.

Rule: a source tells whole values, and only what changed; it never takes back what it told because it lost sight of it.
While what it reads is away, what it told last stands, marked ``stale`` where it says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from atoll.resources.mesh.services import MeshService

Sink: TypeAlias = Callable[[Mapping[str, MeshService | None]], None]
"""Hears of services by host; None: there is no such service any more. Called on the loop."""


class Source(Protocol):
    @property
    def name(self) -> str: ...

    async def start(self, sink: Sink) -> None:
        """Tell everything, and keep ``sink`` for what changes later. Raises what keeps the source from being read at
        all, where that is a fault of its settings; one that is away tells nothing yet.
        """

    async def run(self) -> None:
        """Keep up, until cancelled."""
