"""Names that the bootstrap of a proxy and the configuration which the control plane compiles for it must agree on.

Rule: whoever writes a bootstrap defines the clusters named here; whoever compiles refers to them by these names alone.
"""

from __future__ import annotations

XDS_CLUSTER = "xds"  # the control plane
ADMIN_CLUSTER = "admin"  # the proxy's own admin interface
SDS_CLUSTER = "sds"  # the Unix socket of the process that keeps the workload's key
IDENTITY_SECRET = "default"  # noqa: S105 - a name: the workload's certificate and key
ROOTS_SECRET = "ROOTCA"  # noqa: S105 - a name: what the workload's peers must be signed by

ON_DEMAND = "on-demand"
"""Among a client's ``extensions``: it asks for a cluster by name when it is called, over incremental xDS."""

# Application protocols by which peers inside the mesh know one another's TLS from an application's own.
MESH_ALPN = "istio"
MESH_HTTP_ALPNS = (MESH_ALPN, "h2", "http/1.1")

# Where iptables sends what it captures, in the workload's network namespace; Istio's numbers.
OUTBOUND_CAPTURE_PORT = 15001
INBOUND_CAPTURE_PORT = 15006

AUTHORITY_SUFFIX = "-cacert"  # behind a credential's name: whom its clients must be signed by; Istio's
