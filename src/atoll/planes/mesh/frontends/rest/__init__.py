"""The mesh plane's own API: typed endpoints, declared once, over ``service.mesh``.

Rule: who may ask is said where an endpoint is declared. At the port of xDS only those are answered that workloads need.
"""

from __future__ import annotations

import atoll
from atoll.planes.mesh.frontends.rest.authority import AuthorityApi
from atoll.planes.mesh.frontends.rest.canaries import CanariesApi, ReportsApi
from atoll.planes.mesh.frontends.rest.documents import DocumentsApi
from atoll.planes.mesh.frontends.rest.door import Door
from atoll.planes.mesh.frontends.rest.identity import IdentityApi
from atoll.planes.mesh.frontends.rest.plaintext import PlaintextApi
from atoll.planes.mesh.frontends.rest.seeing import SeeingApi
from atoll.planes.mesh.service.mesh import Mesh
from atoll.planes.mesh.service.seeing import Seeing
from atoll.runtime.http1 import Application
from atoll.runtime.http_api import Endpoint, application
from atoll.runtime.http_guard import CertificateGate
from atoll.runtime.logs import Log


def endpoints(mesh: Mesh) -> list[Endpoint]:
    """Everything that the plane answers on the HTTP API's port and at its Unix socket."""
    node = mesh.peers.node_id
    door = Door(lambda: mesh.accounts.accounts, node)
    return [
        *SeeingApi(Seeing(mesh.push), door, node).endpoints(),
        *DocumentsApi(mesh.documents, door).endpoints(),
        *CanariesApi(mesh.canaries, door).endpoints(),
        *PlaintextApi(mesh.plaintext, door).endpoints(),
        *IdentityApi(mesh.authority, node, certified=False).endpoints(),
        *AuthorityApi(mesh.authority, mesh.settings.trust_domain, node).endpoints(),
    ]


def for_workloads(mesh: Mesh) -> Application:
    """What is answered at the port of xDS besides xDS."""
    found = IdentityApi(mesh.authority, mesh.peers.node_id, certified=True).endpoints()
    found += ReportsApi(mesh.canaries, mesh.plaintext, mesh.authority.admit).endpoints()
    return application(found, CertificateGate(), Log("mesh"), atoll.__version__, {})
