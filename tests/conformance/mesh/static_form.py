"""A snapshot as one static bootstrap: what an Envoy would have after it took everything, for ``envoy --mode validate``.

Rule: nothing is changed but where things come from: load assignments and route configurations are written into the
clusters and listeners that ask for them, and secrets stay with the secret service.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from envoy.config.bootstrap.v3 import bootstrap_pb2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import protocol_pb2
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import (
    http_connection_manager_pb2 as connection_manager,
)
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from google.protobuf import json_format

from atoll.planes.mesh.model.snapshot import Snapshot
from atoll.resources.mesh import proxy
from tests.peers import envoy

_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def bootstrap(snapshot: Snapshot, secrets_path: str = "unused.sock") -> bootstrap_pb2.Bootstrap:
    result = bootstrap_pb2.Bootstrap()
    result.node.id, result.node.cluster = "static", "static"
    result.static_resources.clusters.append(_secret_service(secrets_path))
    result.static_resources.clusters.extend(static_clusters(snapshot))
    result.static_resources.listeners.extend(static_listeners(snapshot))
    return result


def static_clusters(snapshot: Snapshot) -> list[cluster_pb2.Cluster]:
    made = []
    for one in snapshot.clusters.values():
        cluster = cluster_pb2.Cluster.FromString(one.body)
        if cluster.type == cluster_pb2.Cluster.EDS:
            cluster.type = cluster_pb2.Cluster.STATIC
            cluster.ClearField("eds_cluster_config")
            assignment = snapshot.endpoints[one.name]
            cluster.load_assignment.CopyFrom(endpoint_pb2.ClusterLoadAssignment.FromString(assignment.body))
        made.append(cluster)
    return made


def static_listeners(snapshot: Snapshot) -> list[listener_pb2.Listener]:
    made = []
    for one in snapshot.listeners.values():
        listener = listener_pb2.Listener.FromString(one.body)
        chains = [*listener.filter_chains]
        chains += [listener.default_filter_chain] if listener.HasField("default_filter_chain") else []
        for chain in chains:
            for item in chain.filters:
                if item.typed_config.Is(connection_manager.HttpConnectionManager.DESCRIPTOR):
                    manager = connection_manager.HttpConnectionManager()
                    item.typed_config.Unpack(manager)
                    if manager.HasField("rds"):
                        routes = snapshot.routes[manager.rds.route_config_name]
                        manager.route_config.CopyFrom(route_pb2.RouteConfiguration.FromString(routes.body))
                    item.typed_config.Pack(manager)
        made.append(listener)
    return made


def as_json(message: Any) -> Mapping[str, Any]:
    made: Mapping[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return made


def validate(snapshot: Snapshot, folder: Path) -> str:
    """What the real Envoy says against ``snapshot``; empty: nothing."""
    file = folder / "static.json"
    file.write_text(json.dumps(as_json(bootstrap(snapshot))))
    line = [envoy.program(), "--mode", "validate", "-c", str(file), "--concurrency", "1", "-l", "warning"]
    line += ["--use-dynamic-base-id"]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def _secret_service(path: str) -> cluster_pb2.Cluster:
    cluster = cluster_pb2.Cluster(name=proxy.SDS_CLUSTER, type=cluster_pb2.Cluster.STATIC)
    cluster.connect_timeout.seconds = 1
    cluster.load_assignment.cluster_name = proxy.SDS_CLUSTER
    member = cluster.load_assignment.endpoints.add().lb_endpoints.add()
    member.endpoint.address.pipe.path = path
    options = http_protocol_options_pb2.HttpProtocolOptions()
    options.explicit_http_config.http2_protocol_options.CopyFrom(protocol_pb2.Http2ProtocolOptions())
    cluster.typed_extension_protocol_options[_HTTP_OPTIONS].Pack(options)
    return cluster
