"""The mesh as its frontends see it: one value with everything that answers a request.

Rule: no decision is made here. A part is added by who owns it, and what a frontend needs it finds here or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from atoll.planes.mesh.service.canaries import Canaries
from atoll.planes.mesh.service.documents import Documents
from atoll.planes.mesh.service.identity.authority import Authority
from atoll.planes.mesh.service.loads import Loads
from atoll.planes.mesh.service.plaintext import Plaintext
from atoll.planes.mesh.service.push import Push
from atoll.planes.mesh.service.worlds import Worlds
from atoll.planes.mesh.settings import Settings
from atoll.runtime.clock import Clock
from atoll.runtime.metrics import Metrics
from atoll.store.accounts import AccountsTable
from atoll.store.api import Store
from atoll.store.audit import AuditWriter
from atoll.store.peers import Peers


@dataclass
class Mesh:
    store: Store
    accounts: AccountsTable
    audit: AuditWriter
    peers: Peers
    clock: Clock
    metrics: Metrics
    settings: Settings
    worlds: Worlds
    documents: Documents
    push: Push
    loads: Loads
    canaries: Canaries
    plaintext: Plaintext
    authority: Authority
