"""``Registry``: the one value that frontends are given. Each field is a part with an interface of its own.

Rule: a frontend reaches the plane through this and through nothing else; it asks ``guard`` once a request, before any
other part.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.planes.registry.policy.control import Control
from atoll.planes.registry.service.accounts import Accounts
from atoll.planes.registry.service.audit import Audit
from atoll.planes.registry.service.configs import Configs
from atoll.planes.registry.service.connected import Connected
from atoll.planes.registry.service.guard import Guard
from atoll.planes.registry.service.journal import Journal
from atoll.planes.registry.service.locks import Locks
from atoll.planes.registry.service.namespaces import Namespaces
from atoll.planes.registry.service.naming import Naming
from atoll.runtime.clock import Clock
from atoll.runtime.metrics import Metrics
from atoll.store.peers import Peers


@dataclass
class Registry:
    """Everything of the plane that runs on this node."""

    naming: Naming
    configs: Configs
    namespaces: Namespaces
    guard: Guard
    accounts: Accounts
    audit: Audit
    journal: Journal
    locks: Locks
    connected: Connected
    control: Control
    peers: Peers
    clock: Clock
    metrics: Metrics
