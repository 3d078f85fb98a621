"""The plane put together: its services on a store, its frontends on them. Asked for by the host alone.

Rule: no decision is made here; this module knows which part gets which, and stops them in the reverse order.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Opened:
    """The running plane."""

    undo: list[Callable[[float], Awaitable[None]]] = field(default_factory=list)

    async def close(self, within_s: float) -> None:
        """Stop all parts, the newest first."""
        while self.undo:
            await self.undo.pop()(within_s)


async def open_plane() -> Opened:
    """Start the parts that this release has."""
    return Opened()
