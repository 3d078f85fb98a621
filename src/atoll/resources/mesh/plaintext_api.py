"""Who still calls a service without the mesh's TLS, over the node's API: asked before its ports take nothing else.

Times are Unix seconds.
"""

from __future__ import annotations

import msgspec


class PlaintextAsked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    service: str
    namespace: str = "default"


class PlainPort(msgspec.Struct, frozen=True):
    """One port of one workload. ``connections`` without the mesh's TLS since its proxy started, -1: they cannot be told from
    others; ``open``: now. ``last_s`` 0: none was seen since ``since_s``, when its proxy was first heard of.
    """

    node: str
    port: int
    connections: int
    open: int
    last_s: float
    since_s: float


class PlaintextShown(msgspec.Struct, frozen=True):
    """``silent``: sidecars of the service that are connected and have not reported. ``at_s``: the time of this answer."""

    service: str
    namespace: str
    at_s: float
    ports: tuple[PlainPort, ...] = ()
    silent: tuple[str, ...] = ()

    @property
    def quiet_s(self) -> float:
        """How long nobody was seen to call it without TLS; 0: somebody does, or nobody knows."""
        if self.silent or not self.ports or any(each.open or each.connections < 0 for each in self.ports):
            return 0.0
        return min(self.at_s - max(each.last_s, each.since_s) for each in self.ports)
