"""Clients of each class for the service ``caller``: how one is made for a control plane."""

from __future__ import annotations

from pathlib import Path

import msgspec

from atoll.resources.mesh import node_metadata
from atoll.resources.mesh.clients import Client, Kind
from atoll.resources.mesh.services import Locality
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import (
    Caller,
    ClientClass,
    EnvoyCaller,
    GrpcCaller,
    envoy_bootstrap,
    grpc_bootstrap,
)
from tests.peers.ports import free_ports

HERE = Locality("eu", "eu-1")


def make_caller(client: ClientClass, plane: ControlPlane, folder: Path) -> Caller:
    """The one that all tests of a worker share."""
    kind = Kind.GRPC if client is ClientClass.GRPCIO else Kind.SIDECAR
    return caller_for(Client(kind, "caller", "default", locality=HERE), client, plane, folder)


def caller_for(told: Client, client: ClientClass, plane: ControlPlane, folder: Path) -> Caller:
    """The client that ``told`` describes; its port is chosen here."""
    if client is ClientClass.GRPCIO:
        return GrpcCaller(grpc_bootstrap(plane.xds_port, node(told)))
    (port,) = free_ports(1)
    return envoy_for(msgspec.structs.replace(told, http_port=port), client, plane, folder)


def envoy_for(told: Client, client: ClientClass, plane: ControlPlane, folder: Path) -> EnvoyCaller:
    """The sidecar that ``told`` describes."""
    return EnvoyCaller(folder, envoy_bootstrap(plane.xds_port, node(told), client), told.http_port)


def node(client: Client, instance: str = "1") -> dict[str, object]:
    """``node`` of a bootstrap."""
    identifier = node_metadata.node_id(client, instance)
    return {"id": identifier, "cluster": client.service, "metadata": node_metadata.metadata_of(client)}
