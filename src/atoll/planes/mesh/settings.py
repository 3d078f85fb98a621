"""What an operator chose for the mesh plane. The host reads it from the settings ``mesh.*``.

Rule: every field has a default that suits one machine, and its unit in its name.
"""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """``services_file``, ``zookeeper`` empty: no such source of services. ``insecure_xds``: clients of xDS need no certificate, and
    are believed who they say they are. ``offline_root``: an operator keeps the root. ``socket`` empty: in the data folder.
    ``xds_names``: under which xDS is reached. ``access_log``: of every proxy, a file of its machine; ``otlp``: of an
    OpenTelemetry collector, for access logs and for traces of ``trace_percent`` of the requests; empty: none.
    """

    domain: str = "cluster.local"
    trust_domain: str = "cluster.local"
    root_namespace: str = "istio-system"
    empty_endpoints: str = "keep-last"
    unknown: str = "registry-only"
    scope: str = "all"
    access_log: str = "/dev/stdout"
    otlp: str = ""
    trace_percent: float = 1.0
    services_file: str = ""
    zookeeper: str = ""
    insecure_xds: bool = False
    offline_root: bool = False
    certificate_ttl_s: float = 86_400.0
    socket: str = ""
    xds_names: tuple[str, ...] = ("localhost", "127.0.0.1", "::1")
