"""Istio's ``PeerAuthentication`` (security.istio.io/v1): whether a workload takes connections without the mesh's TLS.

Rule: as ``parts``. UNSET inherits: a workload's from its namespace, that from the mesh; the mesh's own is PERMISSIVE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from atoll.resources.mesh.documents.parts import Fault, Part, Selector
from atoll.resources.records import NOTHING

Mode = Literal["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]


class MutualTls(Part, frozen=True):
    mode: Mode = "UNSET"


class PeerAuthentication(Part, frozen=True):
    """``portLevelMtls``: by the workload's port number."""

    selector: Selector | None = None
    mtls: MutualTls | None = None
    portLevelMtls: Mapping[str, MutualTls] = NOTHING

    def faults(self) -> Iterator[Fault]:
        for port in self.portLevelMtls:
            if not (port.isdigit() and 1 <= int(port) <= 65535):
                yield Fault(("portLevelMtls", port), f"{port!r} is no port", "write a number from 1 to 65535")
        if self.portLevelMtls and (self.selector is None or not self.selector.matchLabels):
            yield Fault(
                ("portLevelMtls",), "needs a selector: ports are those of a workload", "give selector"
            )
