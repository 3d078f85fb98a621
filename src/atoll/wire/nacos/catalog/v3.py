"""The HTTP API v3 of Nacos: what clients, administration tools and the web console of 3.x ask for.

Rule: as Nacos 3.1 has it; whatever is not works says how it differs, or why it is absent.
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
)
from atoll.wire.nacos.catalog.v1 import NO_DERBY, NO_FILES, NO_RAFT, ONE_LEVEL, WHAT_IS_LISTENED
from atoll.wire.nacos.catalog.v2 import ONE_NODE_LOAD

NO_AI = "registries of models, tools and agents are outside this plane"

_CLIENT, _ADMIN, _CONSOLE = Surface.CLIENT, Surface.ADMIN, Surface.CONSOLE


def _entry(surface: Surface, verb: str, path: str, operation: str, permit: Permit) -> Entry:
    return Entry(verb, f"/v3/{path}", operation, Envelope.RESULT, permit, surface)


_CC = "client/cs/config"
_CI = "client/ns/instance"
CLIENT = (
    _entry(_CLIENT, "GET", _CC, "config.query.v3", CONFIG_R),
    _entry(_CLIENT, "POST", _CI, "instance.register.v3", NAMING_W),
    _entry(_CLIENT, "DELETE", _CI, "instance.deregister", NAMING_W),
    _entry(_CLIENT, "GET", f"{_CI}/list", "instance.hosts.v3", NAMING_R),
    absent("GET", "/v3/client/ai/prompt", NO_AI),
    absent("GET", "/v3/client/ai/skills", NO_AI),
)

_AU = "auth"
AUTH = (
    _entry(_CLIENT, "POST", f"{_AU}/user/login", "auth.login", OPEN),
    _entry(_ADMIN, "POST", f"{_AU}/user/admin", "auth.first", OPEN),
    _entry(_ADMIN, "POST", f"{_AU}/user", "users.create", USERS_W),
    _entry(_ADMIN, "PUT", f"{_AU}/user", "users.update", EACH),
    _entry(_ADMIN, "DELETE", f"{_AU}/user", "users.delete", USERS_W),
    _entry(_ADMIN, "GET", f"{_AU}/user/list", "users.list", USERS_R).differs("passwords are never shown"),
    _entry(_ADMIN, "GET", f"{_AU}/user/search", "users.search", USERS_R),
    _entry(_ADMIN, "POST", f"{_AU}/role", "roles.create", ROLES_W),
    _entry(_ADMIN, "DELETE", f"{_AU}/role", "roles.delete", ROLES_W),
    _entry(_ADMIN, "GET", f"{_AU}/role/list", "roles.list", ROLES_R),
    _entry(_ADMIN, "GET", f"{_AU}/role/search", "roles.search", ROLES_R),
    _entry(_ADMIN, "POST", f"{_AU}/permission", "permissions.create", PERMISSIONS_W),
    _entry(_ADMIN, "DELETE", f"{_AU}/permission", "permissions.delete", PERMISSIONS_W),
    _entry(_ADMIN, "GET", f"{_AU}/permission/list", "permissions.list", PERMISSIONS_R),
    _entry(_ADMIN, "GET", f"{_AU}/permission", "permissions.exists", PERMISSIONS_R),
)


def _configs(surface: Surface, base: str) -> tuple[Entry, ...]:
    """What administration and console have in common."""
    config, history = f"{base}/cs/config", f"{base}/cs/history"
    return (
        _entry(surface, "GET", config, "config.detail.v3", CONFIG_R),
        _entry(surface, "POST", config, "config.publish", CONFIG_W),
        _entry(surface, "DELETE", config, "config.remove", CONFIG_W),
        _entry(surface, "GET", f"{config}/list", "config.list.v3", CONFIG_R),
        _entry(surface, "GET", f"{config}/listener", "config.listeners.v3", CONFIG_R),
        _entry(surface, "GET", f"{config}/beta", "config.beta.v3", CONFIG_R),
        _entry(surface, "DELETE", f"{config}/beta", "config.beta.stop", CONFIG_W),
        _entry(surface, "POST", f"{config}/import", "config.import", EACH),
        _entry(surface, "POST", f"{config}/clone", "config.clone", EACH),
        _entry(surface, "GET", history, "history.detail.v3", CONFIG_R),
        _entry(surface, "GET", f"{history}/list", "history.list.v3", CONFIG_R),
        _entry(surface, "GET", f"{history}/previous", "history.previous.v3", CONFIG_R),
        _entry(surface, "GET", f"{history}/configs", "history.configs.v3", CONFIG_R),
    )


def _naming(surface: Surface, base: str) -> tuple[Entry, ...]:
    service, instance = f"{base}/ns/service", f"{base}/ns/instance"
    return (
        _entry(surface, "POST", service, "service.create", NAMING_W),
        _entry(surface, "DELETE", service, "service.delete", NAMING_W),
        _entry(surface, "PUT", service, "service.update", NAMING_W),
        _entry(surface, "GET", service, "service.detail.v3", NAMING_R),
        _entry(surface, "GET", f"{service}/list", "service.list.v3", NAMING_R),
        _entry(surface, "GET", f"{service}/subscribers", "service.subscribers.v3", NAMING_R),
        _entry(surface, "GET", f"{service}/selector/types", "service.selectors", EACH),
        _entry(surface, "GET", f"{instance}/list", "instance.hosts.v3", NAMING_R),
        _entry(surface, "PUT", instance, "instance.update", NAMING_W),
    )


def _namespaces(surface: Surface, base: str) -> tuple[Entry, ...]:
    path = f"{base}/core/namespace"
    return (
        _entry(surface, "GET", f"{path}/list", "namespaces.list", EACH),
        _entry(surface, "GET", path, "namespaces.get", NAMESPACES_R),
        _entry(surface, "POST", path, "namespaces.create", NAMESPACES_W),
        _entry(surface, "PUT", path, "namespaces.update", NAMESPACES_W),
        _entry(surface, "DELETE", path, "namespaces.delete", NAMESPACES_W),
    )


_AC, _AN, _AO = "admin/cs", "admin/ns", "admin/core"
_AI = f"{_AN}/instance"
_CT = f"{_AN}/client"
ADMIN = (
    *_configs(_ADMIN, "admin"),
    _entry(_ADMIN, "DELETE", f"{_AC}/config/batch", "config.remove.ids", EACH),
    _entry(_ADMIN, "GET", f"{_AC}/config/export", "config.export", EACH),
    _entry(_ADMIN, "GET", f"{_AC}/listener", "config.listeners.ip.v3", CONFIG_R),
    _entry(_ADMIN, "GET", f"{_AC}/capacity", "capacity.get", OPS_R),
    _entry(_ADMIN, "POST", f"{_AC}/capacity", "capacity.set", OPS_W),
    _entry(_ADMIN, "GET", f"{_AC}/metrics/cluster", "config.metrics", OPS_R).differs(WHAT_IS_LISTENED),
    _entry(_ADMIN, "GET", f"{_AC}/metrics/ip", "config.metrics", OPS_R).differs(WHAT_IS_LISTENED),
    _entry(_ADMIN, "POST", f"{_AC}/ops/localCache", "ops.reload", OPS_W).differs(
        "answered; the view follows the store by itself, there is no cache on disk to dump"
    ),
    _entry(_ADMIN, "PUT", f"{_AC}/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    absent("GET", "/v3/admin/cs/ops/derby", NO_DERBY),
    absent("POST", "/v3/admin/cs/ops/derby/import", NO_DERBY),
    *_naming(_ADMIN, "admin"),
    _entry(_ADMIN, "POST", _AI, "instance.register", NAMING_W),
    _entry(_ADMIN, "DELETE", _AI, "instance.deregister", NAMING_W),
    _entry(_ADMIN, "GET", _AI, "instance.get.v3", NAMING_R),
    _entry(_ADMIN, "PUT", f"{_AI}/metadata/batch", "instance.metadata.put", NAMING_W),
    _entry(_ADMIN, "DELETE", f"{_AI}/metadata/batch", "instance.metadata.delete", NAMING_W),
    _entry(_ADMIN, "PUT", f"{_AI}/partial", "instance.patch", NAMING_W),
    _entry(_ADMIN, "PUT", f"{_AN}/cluster", "cluster.update", NAMING_W),
    _entry(_ADMIN, "PUT", f"{_AN}/health/instance", "health.set", NAMING_W),
    _entry(_ADMIN, "GET", f"{_AN}/health/checkers", "health.checkers", EACH),
    _entry(_ADMIN, "GET", f"{_AN}/ops/switches", "switches.get", OPS_R),
    _entry(_ADMIN, "PUT", f"{_AN}/ops/switches", "switches.put", OPS_W),
    _entry(_ADMIN, "GET", f"{_AN}/ops/metrics", "naming.metrics", EACH),
    _entry(_ADMIN, "PUT", f"{_AN}/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    _entry(_ADMIN, "GET", f"{_CT}/list", "clients.list", OPS_R),
    _entry(_ADMIN, "GET", _CT, "clients.get", OPS_R),
    _entry(_ADMIN, "GET", f"{_CT}/publish/list", "clients.published.v3", OPS_R),
    _entry(_ADMIN, "GET", f"{_CT}/subscribe/list", "clients.subscribed.v3", OPS_R),
    _entry(_ADMIN, "GET", f"{_CT}/service/publisher/list", "clients.publishers.v3", NAMING_R),
    _entry(_ADMIN, "GET", f"{_CT}/service/subscriber/list", "clients.subscribers.v3", NAMING_R),
    _entry(_ADMIN, "GET", f"{_CT}/distro", "naming.responsible", OPS_R).differs(
        "any node takes any write, so the node that is asked names itself"
    ),
    *_namespaces(_ADMIN, "admin"),
    _entry(_ADMIN, "GET", f"{_AO}/namespace/check", "namespaces.count", EACH),
    _entry(_ADMIN, "GET", f"{_AO}/cluster/node/self", "cluster.self", OPS_R),
    _entry(_ADMIN, "GET", f"{_AO}/cluster/node/list", "cluster.nodes", OPS_R),
    _entry(_ADMIN, "GET", f"{_AO}/cluster/node/self/health", "cluster.health", OPEN),
    absent("PUT", "/v3/admin/core/cluster/node/list", NO_FILES),
    absent("PUT", "/v3/admin/core/cluster/lookup", NO_FILES),
    absent("POST", "/v3/admin/core/ops/raft", NO_RAFT),
    absent("GET", "/v3/admin/core/ops/ids", "ids are the store's revisions; there is no generator"),
    _entry(_ADMIN, "PUT", f"{_AO}/ops/log", "ops.log", OPS_W).differs(ONE_LEVEL),
    _entry(_ADMIN, "GET", f"{_AO}/loader/current", "loader.current", OPS_R),
    _entry(_ADMIN, "GET", f"{_AO}/loader/cluster", "loader.cluster", OPS_R),
    absent("POST", "/v3/admin/core/loader/reloadCurrent", ONE_NODE_LOAD),
    absent("POST", "/v3/admin/core/loader/smartReloadCluster", ONE_NODE_LOAD),
    _entry(_ADMIN, "POST", f"{_AO}/loader/reloadClient", "loader.reload", OPS_W),
    _entry(_ADMIN, "GET", f"{_AO}/state", "server.state", OPEN),
    _entry(_ADMIN, "GET", f"{_AO}/state/liveness", "health.live", OPEN),
    _entry(_ADMIN, "GET", f"{_AO}/state/readiness", "health.ready", OPEN),
)

_OC = "console/cs/config"
_ON = "console/core"
CONSOLE = (
    *_configs(_CONSOLE, "console"),
    _entry(_CONSOLE, "DELETE", f"{_OC}/batchDelete", "config.remove.ids", EACH),
    _entry(_CONSOLE, "GET", f"{_OC}/searchDetail", "config.list.v3", CONFIG_R),
    _entry(_CONSOLE, "GET", f"{_OC}/export2", "config.export", EACH),
    _entry(_CONSOLE, "GET", f"{_OC}/export", "config.export", EACH),
    _entry(_CONSOLE, "GET", f"{_OC}/listener/ip", "config.listeners.ip.v3", CONFIG_R),
    *_naming(_CONSOLE, "console"),
    _entry(_CONSOLE, "PUT", "console/ns/service/cluster", "cluster.update", NAMING_W),
    *_namespaces(_CONSOLE, "console"),
    _entry(_CONSOLE, "GET", f"{_ON}/namespace/exist", "namespaces.exists", EACH),
    _entry(_CONSOLE, "GET", f"{_ON}/cluster/nodes", "cluster.nodes", OPS_R),
    _entry(_CONSOLE, "GET", "console/server/state", "server.state", OPEN),
    _entry(_CONSOLE, "GET", "console/server/announcement", "server.text", OPEN),
    _entry(_CONSOLE, "GET", "console/server/guide", "server.text", OPEN),
    _entry(_CONSOLE, "GET", "console/health/liveness", "health.live", OPEN),
    _entry(_CONSOLE, "GET", "console/health/readiness", "health.ready", OPEN),
)

AI = tuple(
    absent(verb, f"/v3/{base}/ai/{kind}{path}", NO_AI)
    for base in ("admin", "console")
    for kind in ("mcp", "a2a")
    for verb, path in (("GET", ""), ("POST", ""), ("PUT", ""), ("DELETE", ""), ("GET", "/list"))
) + (
    absent("GET", "/v3/console/ai/mcp/importToolsFromMcp", NO_AI),
    absent("GET", "/v3/admin/ai/a2a/version/list", NO_AI),
    absent("GET", "/v3/console/ai/a2a/version/list", NO_AI),
    absent("GET", "/v0/servers", NO_AI),
    absent("GET", "/v0/servers/{id}", NO_AI),
    absent("GET", "/v0/servers/{id}/tools", NO_AI),
)

ENTRIES: tuple[Entry, ...] = (*CLIENT, *AUTH, *ADMIN, *CONSOLE, *AI)
