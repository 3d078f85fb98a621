"""Workloads of the mesh with identities of their own: a sidecar that asks for its secrets, a gRPC application with files.

Rule: the authority and the secrets are the tests' own (``workloads``); what is Atoll's is the configuration.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import msgspec

from atoll.resources.mesh import proxy, proxyless
from atoll.resources.mesh.clients import Client
from tests.conformance.mesh.callers import node
from tests.conformance.mesh.plane import ControlPlane
from tests.conformance.mesh.rig import (
    ClientClass,
    EnvoyCaller,
    GrpcCaller,
    envoy_bootstrap,
    grpc_bootstrap,
)
from tests.conformance.mesh.workloads import Authority, SecretService, spiffe
from tests.peers.ports import free_ports

_DRAIN = ("--drain-time-s", "1", "--drain-strategy", "immediate")


class Workloads:
    """Ends what it started. Use as a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = Authority()
        self._stack = ExitStack()

    def __enter__(self) -> Workloads:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def sidecar(self, told: Client, client: ClientClass, plane: ControlPlane) -> EnvoyCaller:
        """Connections from before a change of who may come in are ended within a second."""
        identity = self._authority.issue(spiffe(told.service))
        secrets = self._stack.enter_context(SecretService(self._authority, identity))
        (port,) = free_ports(1)
        told = msgspec.structs.replace(told, http_port=port)
        bootstrap = envoy_bootstrap(plane.xds_port, node(told), client)
        bootstrap["static_resources"]["clusters"].append(_secret_cluster(secrets.path))
        caller = EnvoyCaller(self._new_folder(told), bootstrap, port, *_DRAIN)
        self._stack.callback(caller.close)
        return caller

    def proxyless(self, told: Client, plane: ControlPlane) -> GrpcCaller:
        """Serves at its inbound ports."""
        folder = self._new_folder(told)
        identity = self._authority.issue(spiffe(told.service), dns=("localhost",))
        contents = {
            "cert.pem": identity.certificate,
            "key.pem": identity.key,
            "roots.pem": self._authority.pem,
        }
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        config = {
            "certificate_file": str(folder / "cert.pem"),
            "private_key_file": str(folder / "key.pem"),
            "ca_certificate_file": str(folder / "roots.pem"),
            "refresh_interval": "600s",
        }
        bootstrap = grpc_bootstrap(plane.xds_port, node(told))
        provider = {"plugin_name": "file_watcher", "config": config}
        caller = GrpcCaller(
            {**bootstrap, "certificate_providers": {proxyless.PROVIDER: provider}}, secure=True
        )
        self._stack.callback(caller.close)
        for each in told.inbound:
            caller.program.do("serve", port=each.port, name="vault", secure=True)
        return caller

    def _new_folder(self, told: Client) -> Path:
        folder = self._folder / f"{told.service}-{len(list(self._folder.iterdir()))}"
        folder.mkdir()
        return folder


def _secret_cluster(path: str) -> dict[str, object]:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    http2 = {
        options: {
            "@type": f"type.googleapis.com/{options}",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": path}}}}
    return {
        "name": proxy.SDS_CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": http2,
        "load_assignment": {"cluster_name": proxy.SDS_CLUSTER, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
