"""The registry's own API, on the port of the node's HTTP API: typed, with an OpenAPI document.

Rule: every endpoint is declared with the question that is asked before it (``door``); who may be nobody is listed here:
logging in, and making the first administrator.
"""

from __future__ import annotations

from atoll.planes.registry.frontends.rest.accounts import AccountsApi
from atoll.planes.registry.frontends.rest.audit import AuditApi
from atoll.planes.registry.frontends.rest.configs import ConfigsApi
from atoll.planes.registry.frontends.rest.door import Door
from atoll.planes.registry.frontends.rest.members import MembersApi
from atoll.planes.registry.frontends.rest.namespaces import NamespacesApi
from atoll.planes.registry.frontends.rest.naming import NamingApi
from atoll.planes.registry.frontends.rest.operating import OperatingApi
from atoll.planes.registry.frontends.rest.past import PastApi
from atoll.planes.registry.frontends.rest.rollouts import RolloutsApi
from atoll.planes.registry.frontends.rest.transfers import TransfersApi
from atoll.planes.registry.frontends.rest.watch import WatchApi, WatchParts
from atoll.planes.registry.service.registry import Registry
from atoll.runtime.http_api import Endpoint


def endpoints(registry: Registry) -> list[Endpoint]:
    """Everything that the plane answers on the HTTP API's port."""
    door = Door(registry.guard, registry.peers.node_id)
    watched = WatchParts(registry.configs, registry.naming, registry.journal, registry.clock)
    return [
        *NamingApi(registry.naming, door).endpoints(),
        *OperatingApi(registry.naming, door).endpoints(),
        *ConfigsApi(registry.configs, door).endpoints(),
        *RolloutsApi(registry.configs, door).endpoints(),
        *TransfersApi(registry.configs, registry.namespaces, registry.accounts, door).endpoints(),
        *WatchApi(watched, door).endpoints(),
        *NamespacesApi(registry.namespaces, door).endpoints(),
        *AccountsApi(registry.accounts, door).endpoints(),
        *AuditApi(registry.audit, door).endpoints(),
        *PastApi(registry.journal, door).endpoints(),
        *MembersApi(registry.peers, door).endpoints(),
    ]


def user_of(registry: Registry, token: str) -> str:
    """Whom a token that a user got at login stands for; empty while nobody needs to log in. Raises DENIED."""
    return registry.guard.principal_of(token).name
