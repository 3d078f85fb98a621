"""Istio's ``Sidecar`` (networking.istio.io/v1): which hosts the sidecars of a namespace are told of.

Rule: as ``parts``. Without ``workloadSelector`` it is the namespace's default, in the root namespace the mesh's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, ClassVar, Literal

import msgspec

from atoll.resources.mesh.documents.parts import Fault, Part, WorkloadSelector


class EgressListener(Part, frozen=True):
    """``hosts``: ``NAMESPACE/HOST``; namespace ``.`` is the document's own, ``*`` any, ``~`` none; host ``*`` all."""

    REFUSED: ClassVar[Mapping[str, str]] = {
        "port": "ports of the workload's own are named by `atoll sidecar --outbound`",
        "bind": "addresses of the workload's own are named by `atoll sidecar --outbound`",
        "captureMode": "how traffic is captured is said by `atoll sidecar --capture`",
    }

    hosts: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]

    def faults(self) -> Iterator[Fault]:
        for position, host in enumerate(self.hosts):
            namespace, slash, name = host.partition("/")
            if not (namespace and slash and name):
                yield Fault(
                    ("hosts", position), f"{host!r} is not NAMESPACE/HOST", f"write ./{host} or */{host}"
                )


class OutboundTrafficPolicy(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {"egressProxy": "route to the gateway with a VirtualService"}

    mode: Literal["REGISTRY_ONLY", "ALLOW_ANY"] = "ALLOW_ANY"


class Sidecar(Part, frozen=True):
    REFUSED: ClassVar[Mapping[str, str]] = {
        "ingress": "the ports of a workload are named by `atoll sidecar --inbound`",
        "inboundConnectionPool": "give a DestinationRule for the workload's host",
    }

    workloadSelector: WorkloadSelector | None = None
    egress: tuple[EgressListener, ...] = ()
    outboundTrafficPolicy: OutboundTrafficPolicy | None = None
