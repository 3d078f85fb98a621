"""Names that the bootstrap of a proxyless gRPC application and what is compiled for it must agree on.

Rule: as ``proxy``. An application whose bootstrap has no certificates must not say that it has them: gRPC refuses a whole
response for a certificate provider that it does not know.
"""

from __future__ import annotations

PROVIDER = "default"
"""The certificate provider instance in every bootstrap that Atoll writes."""

CERTIFICATES = "certificates"
"""Among a client's ``extensions``: its bootstrap has ``PROVIDER``."""

SERVER = "grpc/server?xds.resource.listening_address=%s"
"""``server_listener_resource_name_template``: under which name a server asks for its listener."""
