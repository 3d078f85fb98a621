"""Clusters from which the proxy fetches the keys of tokens (``jwksUri``).

Rule: a service of the mesh is not called through these, but by its host's own address: keys come from an identity provider,
which stands outside. HTTPS is checked against the roots of the proxy's system and the host's name.
"""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.core.v3 import base_pb2
from envoy.config.endpoint.v3 import endpoint_components_pb2 as endpoints
from envoy.config.endpoint.v3 import endpoint_pb2
from envoy.extensions.transport_sockets.tls.v3 import common_pb2, tls_pb2

from atoll.planes.mesh.model.snapshot import Resource, Type
from atoll.planes.mesh.policy.compiler import messages, names
from atoll.planes.mesh.policy.compiler.security import tls
from atoll.planes.mesh.policy.compiler.security.tokens import KeySource

_CONNECT_S = 2.0


def cluster(source: KeySource) -> Resource:
    member = endpoints.LbEndpoint(
        endpoint=endpoints.Endpoint(address=messages.socket_address(source.host, source.port))
    )
    name = names.keys_cluster(source.host, source.port)
    message = cluster_pb2.Cluster(
        name=name,
        type=cluster_pb2.Cluster.STATIC
        if messages.is_address(source.host)
        else cluster_pb2.Cluster.STRICT_DNS,
        connect_timeout=messages.duration(_CONNECT_S),
        load_assignment=endpoint_pb2.ClusterLoadAssignment(
            cluster_name=name, endpoints=[endpoints.LocalityLbEndpoints(lb_endpoints=[member])]
        ),
        transport_socket=_verified(source) if source.secure else None,
    )
    return messages.sealed(Type.CLUSTER, message)


def _verified(source: KeySource) -> Any:
    checked = common_pb2.CertificateValidationContext(
        trusted_ca=base_pb2.DataSource(filename=tls.SYSTEM_ROOTS),
        match_typed_subject_alt_names=[tls.host_san(source.host)],
    )
    return tls.socket(
        tls_pb2.UpstreamTlsContext(
            sni="" if messages.is_address(source.host) else source.host,
            common_tls_context=tls_pb2.CommonTlsContext(validation_context=checked),
        )
    )
