"""What Envoy is started with: who it is, where its control plane, its secrets and its admin interface are.

Rule: everything that may change while it runs comes from the control plane; here is only what finds the control plane. The
first clusters and listeners are waited for without a bound (``initial_fetch_timeout`` 0): an Envoy that took its sockets
over and then gave up waiting would serve nothing, while the one before it still serves.

The admin interface can end the process and tells all of its configuration, so it is at a 0600 Unix socket in a 0700
folder; of it only the metrics can be had over TCP, if asked for.

Source: envoy.config.bootstrap.v3.Bootstrap.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from atoll.host.sidecar.folder import Folder
from atoll.resources.mesh import node_metadata, proxy
from atoll.resources.mesh.clients import Client
from atoll.runtime.net import Address

CONNECT_TIMEOUT = "1s"
KEEP_ALIVE_INTERVAL = (
    "10s"  # a control plane that does not answer a ping within KEEP_ALIVE_TIMEOUT is another one's turn
)
KEEP_ALIVE_TIMEOUT = "5s"
RECONNECT = {  # jittered by Envoy; without a bound of its own it would wait 30 s
    "retry_policy": {"retry_back_off": {"base_interval": "0.2s", "max_interval": "4s"}}
}
METRICS_PATH = "/metrics"

_TYPE = "type.googleapis.com/"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_HCM = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
_ROUTER = "envoy.extensions.filters.http.router.v3.Router"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"

# What follows a cluster's name in the name of a statistic. Envoy's own rule ends the name at its first dot, which makes a
# metric of its own of each service: for Prometheus a host has to be a label as a whole.
_AFTER_CLUSTER = (
    r"assignment_|bind_errors$|(?:canary|external|internal)\.upstream_|circuit_breakers\.|client_ssl|default\.total_|"
    r"health_check\.|http[123]\.|lb_|max_host_weight$|membership_|original_dst|outlier_detection\.|retry_|ssl\.|tls_|"
    r"update_|upstream_|version$|warming_state$|zone\.[^.]+\.[^.]+\.upstream_"
)
STATS = {
    "stats_tags": [
        {"tag_name": "mesh.cluster", "regex": rf"^cluster\.(((?:in|out)bound\|.+?)\.)(?:{_AFTER_CLUSTER})"},
        {"tag_name": "mesh.virtual_host", "regex": r"^vhost\.((.+?:[0-9]+)\.)(?:route|vcluster)\."},
        {"tag_name": "mesh.route", "regex": r"^vhost\..+?\.route\.((.+@[0-9a-f]{8}|default)\.)"},
    ]
}


class Wiring(msgspec.Struct, frozen=True, kw_only=True):
    """``instance``: which run of ``client`` it is. ``xds``: nodes of the control plane, any of them will do. ``delta``:
    incremental xDS. ``control_plane``: the SPIFFE id that it must prove, by mutual TLS; empty: plain text. ``metrics``: where
    Prometheus may fetch.
    """

    client: Client
    instance: str
    xds: tuple[Address, ...]
    delta: bool = True
    control_plane: str = ""
    metrics: Address | None = None

    @property
    def node(self) -> str:
        return node_metadata.node_id(self.client, self.instance)


def bootstrap(wiring: Wiring, folder: Folder) -> dict[str, Any]:
    """The bootstrap in Envoy's JSON."""
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    clusters = [_xds_cluster(wiring), _pipe_cluster(proxy.SDS_CLUSTER, str(folder.sds_socket), http2=True)]
    listeners = []
    if wiring.metrics is not None:
        clusters.append(_pipe_cluster(proxy.ADMIN_CLUSTER, str(folder.admin_socket), http2=False))
        listeners.append(_metrics_listener(wiring.metrics))
    return {
        "node": _node(wiring),
        "admin": {"address": _pipe(str(folder.admin_socket)), "ignore_global_conn_limit": True},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if wiring.delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [{"envoy_grpc": {"cluster_name": proxy.XDS_CLUSTER, **RECONNECT}}],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {"clusters": clusters, "listeners": listeners},
        "stats_config": STATS,
    }


def _node(wiring: Wiring) -> dict[str, Any]:
    client = wiring.client
    if wiring.delta:
        client = msgspec.structs.replace(client, extensions=client.extensions | {proxy.ON_DEMAND})
    where = client.locality
    return {
        "id": wiring.node,
        "cluster": client.service,
        "metadata": node_metadata.metadata_of(client),
        "locality": {"region": where.region, "zone": where.zone, "sub_zone": where.sub_zone},
    }


def _xds_cluster(wiring: Wiring) -> dict[str, Any]:
    """Numeric addresses are used as they are; names are looked up, all of them again and again."""
    is_numeric = all(each.host.replace(".", "").isdigit() or ":" in each.host for each in wiring.xds)
    cluster = {
        "name": proxy.XDS_CLUSTER,
        "type": "STATIC" if is_numeric else "STRICT_DNS",
        "connect_timeout": CONNECT_TIMEOUT,
        "typed_extension_protocol_options": _http2(keep_alive=True),
        "load_assignment": _assignment(proxy.XDS_CLUSTER, [_socket(each) for each in wiring.xds]),
    }
    if wiring.control_plane:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": _mutual_tls(wiring.control_plane),
        }
    return cluster


def _mutual_tls(control_plane: str) -> dict[str, Any]:
    """With the workload's own certificate, towards the control plane and nobody else."""
    checked = {"match_typed_subject_alt_names": [{"san_type": "URI", "matcher": {"exact": control_plane}}]}
    return {
        "@type": _TYPE + _TLS,
        "common_tls_context": {
            "alpn_protocols": ["h2"],
            "tls_certificate_sds_secret_configs": [_secret(proxy.IDENTITY_SECRET)],
            "combined_validation_context": {
                "default_validation_context": checked,
                "validation_context_sds_secret_config": _secret(proxy.ROOTS_SECRET),
            },
        },
    }


def _secret(name: str) -> dict[str, Any]:
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "grpc_services": [{"envoy_grpc": {"cluster_name": proxy.SDS_CLUSTER}}],
    }
    config = {"api_config_source": source, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    return {"name": name, "sds_config": config}


def _pipe_cluster(name: str, path: str, *, http2: bool) -> dict[str, Any]:
    cluster = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": CONNECT_TIMEOUT,
        "load_assignment": _assignment(name, [{"pipe": {"path": path}}]),
    }
    if http2:
        cluster["typed_extension_protocol_options"] = _http2(keep_alive=False)
    return cluster


def _metrics_listener(address: Address) -> dict[str, Any]:
    """Of the admin interface only the metrics, and only to be read."""
    match = {
        "path": METRICS_PATH,
        "headers": [{"name": ":method", "string_match": {"exact": "GET"}}],
    }
    route = {"cluster": proxy.ADMIN_CLUSTER, "prefix_rewrite": "/stats/prometheus"}
    hosts = [{"name": "metrics", "domains": ["*"], "routes": [{"match": match, "route": route}]}]
    manager = {
        "@type": _TYPE + _HCM,
        "stat_prefix": "metrics",
        "http_filters": [{"name": "router", "typed_config": {"@type": _TYPE + _ROUTER}}],
        "route_config": {"virtual_hosts": hosts},
    }
    return {
        "name": "metrics",
        "address": _socket(address),
        "ignore_global_conn_limit": True,
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }


def _http2(*, keep_alive: bool) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if keep_alive:
        options["connection_keepalive"] = {"interval": KEEP_ALIVE_INTERVAL, "timeout": KEEP_ALIVE_TIMEOUT}
    chosen = {"@type": _TYPE + _HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": options}}
    return {_HTTP_OPTIONS: chosen}


def _assignment(name: str, addresses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": each}} for each in addresses]
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": endpoints}]}


def _socket(address: Address) -> dict[str, Any]:
    return {"socket_address": {"address": address.host, "port_value": address.port}}


def _pipe(path: str) -> dict[str, Any]:
    return {"pipe": {"path": path, "mode": 0o600}}
