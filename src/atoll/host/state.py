"""What a running node is made of: written by ``host.node``, shown by ``host.api``.

Rule: one owner of each field, the node; the API reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atoll.errors import AtollError, Code
from atoll.host.catalog import OpenStore, Started
from atoll.host.leader import Leader
from atoll.host.settings import Resolved
from atoll.runtime.health import Health
from atoll.runtime.listener import Listener
from atoll.runtime.metrics import Metrics


@dataclass
class State:
    """``started_at_s`` is Unix time."""

    resolved: Resolved
    started_at_s: float
    ready_after_s: float = 0.0
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=Metrics)
    listeners: dict[str, Listener] = field(default_factory=dict)
    planes: list[Started] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    store: OpenStore | None = None
    leader: Leader | None = None

    @property
    def opened(self) -> OpenStore:
        """Raises UNAVAILABLE before the store is open."""
        if self.store is None:
            raise AtollError(Code.UNAVAILABLE, "the store is not open yet", retry_after_s=1.0)
        return self.store
