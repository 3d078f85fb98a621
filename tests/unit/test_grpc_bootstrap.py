"""The bootstrap of a proxyless gRPC application: that the control plane and gRPC understand the same by it."""

from __future__ import annotations

import json
from pathlib import Path

from atoll.host.sidecar import grpc_bootstrap
from atoll.host.sidecar.bootstrap import Wiring
from atoll.resources.mesh import node_metadata, proxyless
from atoll.resources.mesh.clients import Client, Inbound, Kind
from atoll.resources.mesh.services import Locality, Protocol
from atoll.runtime.net import Address

CLIENT = Client(
    Kind.GRPC,
    "reviews",
    "default",
    {"version": "v1"},
    Locality("eu", "eu-1"),
    inbound=(Inbound(9080, 9080, Protocol.GRPC),),
    extensions=frozenset({proxyless.CERTIFICATES}),
)
NODES = (Address("127.0.0.1", 15010), Address("127.0.0.2", 15010))


def told() -> dict[str, object]:
    wiring = Wiring(client=CLIENT, instance="host-1", xds=NODES)
    found: dict[str, object] = json.loads(grpc_bootstrap.bootstrap(wiring, Path("/run/reviews")))
    return found


def test_the_control_plane_reads_the_client_that_was_meant() -> None:
    node = told()["node"]
    assert isinstance(node, dict)
    assert node_metadata.client_of(node["id"], node["metadata"], Locality(**node["locality"])) == CLIENT


def test_the_provider_that_is_compiled_for_is_there_and_reads_the_files_of_the_identity() -> None:
    providers, servers = told()["certificate_providers"], told()["xds_servers"]
    assert isinstance(providers, dict) and isinstance(servers, list)
    files = providers[proxyless.PROVIDER]["config"]
    assert files["private_key_file"] == "/run/reviews/key.pem"
    assert files["ca_certificate_file"] == "/run/reviews/roots.pem"
    assert [each["server_uri"] for each in servers] == ["127.0.0.1:15010", "127.0.0.2:15010"]
    assert all(each["channel_creds"] == [{"type": "tls", "config": files}] for each in servers)
