"""What an instance says to the mesh in its metadata, besides what every client of the registry publishes.

Rule: whoever registers an instance writes these keys and the mesh's registry source reads them; nobody else gives them a
meaning. What they mean is told at ``planes.mesh.model.registry_view``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from atoll.resources.mesh.clients import Inbound

PORTS: Final = "mesh.ports"
PROTOCOL: Final = "protocol"
MUTUAL_TLS: Final = "mesh.mtls"
ACCOUNT: Final = "mesh.account"


def ports_text(inbound: Sequence[Inbound]) -> str:
    """The value of ``PORTS`` for an instance that is registered with the first one's port."""
    own = [f"{each.service_port}:{each.protocol}={each.port}" for each in inbound]
    return ",".join([own[0].partition("=")[0], *own[1:]])
