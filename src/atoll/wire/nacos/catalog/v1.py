"""The HTTP API v1 of Nacos, which 1.x clients and the clients of most languages use.

Rule: as Nacos 1.4.8 and 2.4.3 have it; whatever is not works says how it differs, or why it is absent.
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
    PERMISSIONS_R,
    PERMISSIONS_W,
    ROLES_R,
    ROLES_W,
    USERS_R,
    USERS_W,
    Entry,
    Envelope,
    Permit,
    Surface,
    absent,
    chosen,
)

NO_RAFT = "there is no Raft here: what must not be lost is in the ordered store (embedded or etcd)"
NO_DERBY = "there is no SQL endpoint here: it was a way to run code (CVE-2021-29442)"
NO_FILES = "members join and leave by their record in the store; no list is edited by hand"
NO_INNER = (
    "the reference's own traffic between servers; Atoll's nodes have a protocol and a port of their own"
)
ONE_LEVEL = "the level belongs to the node's setting log.level; answered, nothing changes"
WHAT_IS_LISTENED = "the items that the address listens to; clients are not asked for their snapshots"
_TEXT, _REST = Envelope.TEXT, Envelope.REST
_CLIENT, _CONSOLE = Surface.CLIENT, Surface.CONSOLE


def _text(verb: str, path: str, operation: str, permit: Permit) -> Entry:
    return chosen(Entry(verb, path, operation, _TEXT, permit))


def _rest(verb: str, path: str, operation: str, permit: Permit) -> Entry:
    return chosen(Entry(verb, path, operation, _REST, permit))


def _client(entry: Entry) -> Entry:
    return entry._replace(surface=_CLIENT)


def _console(entry: Entry) -> Entry:
    return entry._replace(surface=_CONSOLE)


_CS = "/v1/cs/configs"
CONFIGS = (
    _client(_text("GET", _CS, "config.get", CONFIG_R)),
    _client(_text("POST", _CS, "config.publish", CONFIG_W)),
    _client(_text("DELETE", _CS, "config.remove", CONFIG_W)),
    _client(_text("POST", f"{_CS}/listener", "config.listen", EACH)),
    _client(_text("GET", f"{_CS}?search", "config.search", CONFIG_R)),
    _text("GET", f"{_CS}?show=all", "config.detail", CONFIG_R),
    _rest("GET", f"{_CS}?beta=true", "config.beta", CONFIG_R),
    _rest("DELETE", f"{_CS}?beta=true", "config.beta.stop", CONFIG_W),
    _rest("DELETE", f"{_CS}?delType=ids", "config.remove.ids", EACH),
    _text("GET", f"{_CS}?export=true", "config.export.v1", EACH),
    _text("GET", f"{_CS}?exportV2=true", "config.export", EACH),
    _rest("POST", f"{_CS}?import=true", "config.import", EACH),
    _rest("POST", f"{_CS}?clone=true", "config.clone", EACH),
    _rest("GET", f"{_CS}/catalog", "config.catalog", CONFIG_R),
    _text("GET", f"{_CS}/listener", "config.listeners", CONFIG_R),
    _text("GET", "/v1/cs/listener", "config.listeners.ip", CONFIG_R),
    _text("GET", "/v1/cs/history?search=accurate", "history.list", CONFIG_R),
    _text("GET", "/v1/cs/history", "history.detail", CONFIG_R),
    _text("GET", "/v1/cs/history/previous", "history.previous", CONFIG_R),
    _text("GET", "/v1/cs/history/configs", "history.configs", CONFIG_R),
    _rest("GET", "/v1/cs/capacity", "capacity.get", OPS_R),
    _rest("POST", "/v1/cs/capacity", "capacity.set", OPS_W),
    _text("GET", "/v1/cs/metrics/cluster", "config.metrics", OPS_R).differs(WHAT_IS_LISTENED),
    _text("GET", "/v1/cs/metrics/ip", "config.metrics", OPS_R).differs(WHAT_IS_LISTENED),
    _text("GET", "/v1/cs/communication/configWatchers", "config.listeners", CONFIG_R),
    _text("GET", "/v1/cs/communication/watcherConfigs", "config.listeners.ip", CONFIG_R),
    absent("GET", "/v1/cs/communication/dataChange", NO_INNER, _TEXT),
    _text("GET", "/v1/cs/health", "config.health", OPEN),
    _text("POST", "/v1/cs/ops/localCache", "ops.reload", OPS_W).differs(
        "answered; the view follows the store by itself, there is no cache on disk to dump"
    ),
    _text("PUT", "/v1/cs/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    absent("GET", "/v1/cs/ops/derby", NO_DERBY, _REST),
    absent("POST", "/v1/cs/ops/data/removal", NO_DERBY, _REST),
)

_NS = "/v1/ns"
_IN = f"{_NS}/instance"
INSTANCES = (
    _client(_text("POST", _IN, "instance.register", NAMING_W)),
    _client(_text("DELETE", _IN, "instance.deregister", NAMING_W)),
    _client(_text("PUT", _IN, "instance.update", NAMING_W)),
    _client(_text("PATCH", _IN, "instance.patch", NAMING_W)),
    _client(_text("GET", _IN, "instance.get", NAMING_R)),
    _client(_text("GET", f"{_IN}/list", "instance.list", NAMING_R)),
    _client(_text("PUT", f"{_IN}/beat", "instance.beat", NAMING_W)),
    _client(_text("POST", f"{_IN}/beat", "instance.beat", NAMING_W)),
    _text(
        "PUT",
        f"{_IN}/metadata/batch",
        "instance.metadata.put",
        NAMING_W,
    ),
    _text(
        "DELETE",
        f"{_IN}/metadata/batch",
        "instance.metadata.delete",
        NAMING_W,
    ),
    _text("GET", f"{_IN}/statuses", "instance.statuses", NAMING_R),
)
_SV = f"{_NS}/service"
SERVICES = (
    _client(_text("POST", _SV, "service.create", NAMING_W)),
    _client(_text("PUT", _SV, "service.update", NAMING_W)),
    _client(_text("DELETE", _SV, "service.delete", NAMING_W)),
    _client(_text("GET", _SV, "service.get", NAMING_R)),
    _client(_text("GET", f"{_SV}/list", "service.list", NAMING_R)),
    _text("GET", f"{_SV}/names", "service.names", NAMING_R).differs(
        "the answer has the key `services` beside the reference's `META-INF/services`, a slip of the pen there"
    ),
    _text("GET", f"{_SV}/subscribers", "service.subscribers", NAMING_R),
    _rest("GET", f"{_SV}/selector/types", "service.selectors", EACH),
    absent("POST", f"{_SV}/status", NO_INNER, _TEXT),
    absent("PUT", f"{_SV}/checksum", NO_INNER, _TEXT),
    _text("PUT", f"{_NS}/cluster", "cluster.update", NAMING_W),
    _text("GET", f"{_NS}/catalog/services", "catalog.services", NAMING_R),
    _text("GET", f"{_NS}/catalog/service", "catalog.service", NAMING_R),
    _text("GET", f"{_NS}/catalog/instances", "catalog.instances", NAMING_R),
    _text("PUT", f"{_NS}/health", "health.set", NAMING_W),
    _text("PUT", f"{_NS}/health/instance", "health.set", NAMING_W),
    _text("GET", f"{_NS}/health/checkers", "health.checkers", EACH),
    _text("GET", f"{_NS}/health/server", "health.server", OPEN),
    _text("GET", "/v1/cmdb/ops/label", "cmdb.label", OPS_R),
)
OPERATOR = tuple(
    entry
    for base in (f"{_NS}/operator", f"{_NS}/ops")
    for entry in (
        _text("GET", f"{base}/switches", "switches.get", OPS_R),
        _text("PUT", f"{base}/switches", "switches.put", OPS_W),
        _client(_text("GET", f"{base}/metrics?onlyStatus=true", "naming.metrics", OPEN)),
        _client(_text("GET", f"{base}/metrics?onlyStatus=false", "naming.metrics", EACH)),
        _client(_text("GET", f"{base}/metrics", "naming.metrics", OPEN)),
        _text("GET", f"{base}/push/state", "naming.pushes", OPS_R),
        _text("GET", f"{base}/distro/client", "naming.responsible", OPS_R).differs(
            "any node takes any write, so the node that is asked names itself"
        ),
        _text("PUT", f"{base}/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    )
) + (
    absent("GET", f"{_NS}/upgrade/ops/metrics", NO_INNER, _TEXT),
    absent("GET", f"{_NS}/raft/leader", NO_RAFT, _TEXT),
    absent("GET", f"{_NS}/raft/state", NO_RAFT, _TEXT),
    absent("PUT", f"{_NS}/distro/datum", NO_INNER, _TEXT),
    absent("GET", f"{_NS}/distro/datums", NO_INNER, _TEXT),
    absent("PUT", f"{_NS}/distro/checksum", NO_INNER, _TEXT),
)

_AU = "/v1/auth"
AUTH = (
    _client(_text("POST", f"{_AU}/login", "auth.login", OPEN)),
    _client(_text("POST", f"{_AU}/users/login", "auth.login", OPEN)),
    _rest("POST", f"{_AU}/users/admin", "auth.first", OPEN),
    _rest("POST", f"{_AU}/users", "users.create", USERS_W),
    _rest("PUT", f"{_AU}/users", "users.update", EACH),
    _rest("DELETE", f"{_AU}/users", "users.delete", USERS_W),
    _text("GET", f"{_AU}/users", "users.list", USERS_R).differs(
        "the password of a page's items is always empty"
    ),
    _text("GET", f"{_AU}/users/search", "users.search", USERS_R),
    _rest("POST", f"{_AU}/roles", "roles.create", ROLES_W),
    _rest("DELETE", f"{_AU}/roles", "roles.delete", ROLES_W),
    _text("GET", f"{_AU}/roles", "roles.list", ROLES_R),
    _text("GET", f"{_AU}/roles/search", "roles.search", ROLES_R),
    _rest("POST", f"{_AU}/permissions", "permissions.create", PERMISSIONS_W),
    _rest("DELETE", f"{_AU}/permissions", "permissions.delete", PERMISSIONS_W),
    _text("GET", f"{_AU}/permissions", "permissions.list", PERMISSIONS_R),
)

_CO = "/v1/console"
CONSOLE = (
    _console(_rest("GET", f"{_CO}/namespaces", "namespaces.list", EACH)),
    _console(_text("GET", f"{_CO}/namespaces?show=all", "namespaces.get", NAMESPACES_R)),
    _console(_text("GET", f"{_CO}/namespaces?checkNamespaceIdExist=true", "namespaces.exists", EACH)),
    _console(_text("POST", f"{_CO}/namespaces", "namespaces.create", NAMESPACES_W)),
    _console(_text("PUT", f"{_CO}/namespaces", "namespaces.update", NAMESPACES_W)),
    _console(_text("DELETE", f"{_CO}/namespaces", "namespaces.delete", NAMESPACES_W)),
    _console(_text("GET", f"{_CO}/health/liveness", "health.live", OPEN)),
    _console(_text("GET", f"{_CO}/health/readiness", "health.ready", OPEN)),
    _console(_text("GET", f"{_CO}/server/state", "server.state", OPEN)).differs(
        "the keys of what exists here; no Raft, no Distro"
    ),
    _console(_rest("GET", f"{_CO}/server/announcement", "server.text", OPEN)),
    _console(_rest("GET", f"{_CO}/server/guide", "server.text", OPEN)),
)

_CL = "/v1/core/cluster"
CORE = (
    _rest("GET", f"{_CL}/nodes", "cluster.nodes", OPS_R),
    _rest("GET", f"{_CL}/self", "cluster.self", OPS_R),
    _rest("GET", f"{_CL}/simple/nodes", "cluster.addresses", OPS_R),
    _rest("GET", f"{_CL}/health", "cluster.health", OPEN),
    absent("POST", f"{_CL}/report", NO_INNER, _REST),
    absent("POST", f"{_CL}/switch/lookup", NO_FILES, _REST),
    absent("POST", f"{_CL}/server/leave", NO_FILES, _REST),
    absent("POST", "/v1/core/ops/raft", NO_RAFT, _REST),
    absent("GET", "/v1/core/ops/idInfo", "ids are the store's revisions; there is no generator", _REST),
    _rest("PUT", "/v1/core/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
)

ENTRIES: tuple[Entry, ...] = (*CONFIGS, *INSTANCES, *SERVICES, *OPERATOR, *AUTH, *CONSOLE, *CORE)
