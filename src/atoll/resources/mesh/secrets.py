"""The names under which an Envoy asks its sidecar's secret service (SDS) for its key and for whom it trusts.

Rule: whoever compiles a TLS context for an Envoy names these, as resources of the cluster ``SDS_CLUSTER`` that its bootstrap
has (an Envoy gRPC service, ``api_type: GRPC``, state of the world); a key is never inlined and never in a file. The names
are Istio's.
"""

from __future__ import annotations

CERTIFICATE = "default"  # the workload's key and certificate chain
ROOTS = "ROOTCA"  # the validation context: each trust domain with its own roots
SDS_CLUSTER = "sds"
CONTROL_PLANE_ACCOUNT = "atoll"
CONTROL_PLANE_NAMESPACE = "atoll-system"
"""The nodes' own service account: what serves xDS is ``spiffe://TRUST_DOMAIN/ns/atoll-system/sa/atoll``."""
