"""The HTTP API v2 of Nacos: the envelope ``Result``, ``namespaceId`` instead of ``tenant``.

Rule: as Nacos 2.4.3 has it; whatever is not works says how it differs, or why it is absent.
"""

from __future__ import annotations

from atoll.wire.nacos.catalog.entry import (
    CONFIG_R,
    CONFIG_W,
    EACH,
    NAMESPACES_R,
    NAMESPACES_W,
    NAMING_R,
    NAMING_W,
    OPEN,
    OPS_R,
    OPS_W,
    Entry,
    Envelope,
    Permit,
    Surface,
    absent,
)
from atoll.wire.nacos.catalog.v1 import NO_FILES, NO_RAFT, ONE_LEVEL

ONE_NODE_LOAD = (
    "connections are moved one at a time, by reloadClient; a node does not weigh itself against others"
)


def _result(verb: str, path: str, operation: str, permit: Permit) -> Entry:
    return Entry(verb, path, operation, Envelope.RESULT, permit)


def _client(entry: Entry) -> Entry:
    return entry._replace(surface=Surface.CLIENT)


def _console(entry: Entry) -> Entry:
    return entry._replace(surface=Surface.CONSOLE)


_CS = "/v2/cs"
_HISTORY = f"{_CS}/history"
CONFIGS = (
    _client(_result("GET", f"{_CS}/config", "config.get", CONFIG_R)),
    _client(_result("POST", f"{_CS}/config", "config.publish", CONFIG_W)),
    _client(_result("DELETE", f"{_CS}/config", "config.remove", CONFIG_W)),
    _result("GET", f"{_CS}/config/searchDetail", "config.search", CONFIG_R),
    _result("GET", _HISTORY, "history.detail", CONFIG_R),
    _result("GET", f"{_HISTORY}/list", "history.list", CONFIG_R),
    _result("GET", f"{_HISTORY}/detail", "history.detail", CONFIG_R),
    _result("GET", f"{_HISTORY}/previous", "history.previous", CONFIG_R),
    _result("GET", f"{_HISTORY}/configs", "history.configs", CONFIG_R),
)

_IN = "/v2/ns/instance"
_METADATA = f"{_IN}/metadata/batch"
INSTANCES = (
    _client(_result("POST", _IN, "instance.register", NAMING_W)),
    _client(_result("DELETE", _IN, "instance.deregister", NAMING_W)),
    _client(_result("PUT", _IN, "instance.update", NAMING_W)),
    _client(_result("PATCH", _IN, "instance.patch", NAMING_W)),
    _client(_result("GET", _IN, "instance.get", NAMING_R)),
    _client(_result("GET", f"{_IN}/list", "instance.list", NAMING_R)),
    _client(_result("PUT", f"{_IN}/beat", "instance.beat", NAMING_W)),
    _result("PUT", _METADATA, "instance.metadata.put", NAMING_W),
    _result("DELETE", _METADATA, "instance.metadata.delete", NAMING_W),
    _result("GET", f"{_IN}/statuses/{{key}}", "instance.statuses", NAMING_R),
)
_SV = "/v2/ns/service"
SERVICES = (
    _client(_result("POST", _SV, "service.create", NAMING_W)),
    _client(_result("PUT", _SV, "service.update", NAMING_W)),
    _client(_result("DELETE", _SV, "service.delete", NAMING_W)),
    _client(_result("GET", _SV, "service.detail", NAMING_R)),
    _client(_result("GET", f"{_SV}/list", "service.list", NAMING_R)),
    _result("GET", "/v2/ns/catalog/instances", "catalog.instances.v2", NAMING_R),
    _result("PUT", "/v2/ns/health", "health.set", NAMING_W),
    _result("PUT", "/v2/ns/health/instance", "health.set", NAMING_W),
)
OPERATOR = tuple(
    entry
    for base in ("/v2/ns/operator", "/v2/ns/ops")
    for entry in (
        _result("GET", f"{base}/switches", "switches.get", OPS_R),
        _result("PUT", f"{base}/switches", "switches.put", OPS_W),
        _result("GET", f"{base}/metrics", "naming.metrics", EACH),
    )
)
_CT = "/v2/ns/client"
CLIENTS = (
    _result("GET", f"{_CT}/list", "clients.list", OPS_R),
    _result("GET", _CT, "clients.get", OPS_R),
    _result("GET", f"{_CT}/publish/list", "clients.published", OPS_R),
    _result("GET", f"{_CT}/subscribe/list", "clients.subscribed", OPS_R),
    _result("GET", f"{_CT}/service/publisher/list", "clients.publishers", NAMING_R),
    _result("GET", f"{_CT}/service/subscriber/list", "clients.subscribers", NAMING_R),
)

_NM = "/v2/console/namespace"
CONSOLE = (
    _console(_result("GET", f"{_NM}/list", "namespaces.list", EACH)),
    _console(_result("GET", _NM, "namespaces.get", NAMESPACES_R)),
    _console(_result("POST", _NM, "namespaces.create", NAMESPACES_W)),
    _console(_result("PUT", _NM, "namespaces.update", NAMESPACES_W)),
    _console(_result("DELETE", _NM, "namespaces.delete", NAMESPACES_W)),
    _console(_result("GET", "/v2/console/health/liveness", "health.live", OPEN)),
    _console(_result("GET", "/v2/console/health/readiness", "health.ready", OPEN)),
)

_NO = "/v2/core/cluster/node"
_LOADER = "/v2/core/loader"
CORE = (
    _result("GET", f"{_NO}/self", "cluster.self", OPS_R),
    _result("GET", f"{_NO}/list", "cluster.nodes", OPS_R),
    _result("GET", f"{_NO}/self/health", "cluster.health", OPEN),
    absent("PUT", f"{_NO}/list", NO_FILES),
    absent("PUT", "/v2/core/cluster/lookup", NO_FILES),
    absent("DELETE", "/v2/core/cluster/nodes", NO_FILES),
    absent("POST", "/v2/core/ops/raft", NO_RAFT),
    absent("GET", "/v2/core/ops/ids", "ids are the store's revisions; there is no generator"),
    _result("PUT", "/v2/core/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    _result("GET", f"{_LOADER}/current", "loader.current", OPS_R),
    _result("GET", f"{_LOADER}/cluster", "loader.cluster", OPS_R),
    absent("GET", f"{_LOADER}/reloadCurrent", ONE_NODE_LOAD),
    absent("GET", f"{_LOADER}/smartReloadCluster", ONE_NODE_LOAD),
    _result("GET", f"{_LOADER}/reloadClient", "loader.reload", OPS_W),
)

ENTRIES: tuple[Entry, ...] = (*CONFIGS, *INSTANCES, *SERVICES, *OPERATOR, *CLIENTS, *CONSOLE, *CORE)
