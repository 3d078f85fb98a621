"""Quotas of namespaces and groups, as the frontends use them.

Rule: kept and written as configuration is; where they hold is decided at each publish (``model.config_decisions``).
"""

from __future__ import annotations

from atoll.planes.registry.model import capacity_decisions as decisions
from atoll.planes.registry.model.config_view import ConfigView
from atoll.planes.registry.service.config_writes import ConfigWriter
from atoll.resources.actor import Actor
from atoll.resources.config_item import Capacity
from atoll.resources.config_views import Usage


class ConfigCapacity:
    """``scope`` is ``namespace`` or ``group``."""

    def __init__(self, view: ConfigView, writer: ConfigWriter) -> None:
        self._view = view
        self._writer = writer

    def usage(self, scope: str, name: str) -> Usage:
        return decisions.usage(self._view, scope, name)

    def every(self) -> list[Usage]:
        """Those that somebody set."""
        return [self.usage(each.scope, each.name) for each in self._view.capacities()]

    async def put(self, actor: Actor, wanted: Capacity) -> Usage:
        """Raises INVALID, and what the store says."""
        await self._writer.commit(
            actor,
            f"capacity {wanted.scope} {wanted.name}",
            lambda: False,
            lambda stamp: decisions.put(self._view, wanted, stamp.now_s),
        )
        return self.usage(wanted.scope, wanted.name)

    async def remove(self, actor: Actor, scope: str, name: str) -> bool:
        """Back to the node's default. False: there was no quota."""
        done = await self._writer.commit(
            actor,
            f"capacity {scope} {name}",
            lambda: False,
            lambda _: decisions.remove(self._view, scope, name),
        )
        return bool(done.decided.operations)
